"""Logins by a real OpenID Connect provider on loopback, and answers that are refused."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from api_server import ApiServer
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey
from site_client import CSRF, Person
from werkzeug.test import TestResponse

from core.config import build_config
from core.errors import ConfigError
from core.identity import Scope
from core.login_config import LoginConfig
from core.rights import Role
from web.services import identities
from web.services.logins import providers
from web.services.logins.providers import Providers, find_claim_problem
from web.store import audit, logins, members, users
from web.store.audit import Act, AuditQuery, Kind

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the provider
PEOPLE: dict[str, dict[str, Any]] = {
    "7": {"preferred_username": "grace", "email": "grace@example.org", "email_verified": True, "groups": ["research"]},
    "8": {"preferred_username": "admin", "email": "admin@elsewhere.example", "email_verified": True},
    "9": {"preferred_username": "mallory", "email": "mallory@example.org", "email_verified": False},
}


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    with warnings.catch_warnings(record=True):
        import oidc_provider_mock  # here, since all workers import this file and one needs a provider
    people = [oidc_provider_mock.User(sub=sub, claims=claims) for sub, claims in PEOPLE.items()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with oidc_provider_mock.run_server_in_thread(user_claims=people) as server:
            yield f"http://127.0.0.1:{server.server_port}"


class Place:
    """A server with a provider of logins, and a browser."""

    def __init__(self, folder: Path, issuer: str, **login: Any) -> None:
        values = {"issuer": issuer, "client_id": "pushmill", "client_secret": "secret"} | login
        self.api = ApiServer(folder / "data", login={"company": values, "second": values})
        self.person = Person(self.api)

    def begin(self, path: str = "/login/company") -> str:
        answer = self.person.get(path)
        assert answer.status_code == 303, answer.text
        return answer.location

    def consent(self, url: str, sub: str = "7") -> str:
        """Consent at the provider, and return the path that it sends the browser to."""
        answer = httpx.post(url, data={"sub": sub})
        assert answer.status_code in (302, 303), answer.text
        back = urlsplit(answer.headers["Location"])
        return f"{back.path}?{back.query}"

    def log_in(self, sub: str = "7", path: str = "/login/company") -> TestResponse:
        return self.person.get(self.consent(self.begin(path), sub))

    @property
    def user(self) -> str:
        """Return the user who is logged in."""
        return self.person.get("/").text.partition('<summary><span class="clip">')[2].partition("<")[0]

    def link(self) -> str:
        """Return the address of the button that links an account."""
        token = CSRF.search(self.person.get("/auth/tokens/").text)
        assert token is not None
        return f"/login/company?link={token[1]}"


@pytest.fixture
def place(tmp_path: Path, issuer: str) -> Iterator[Place]:
    made = Place(tmp_path, issuer, create=True, projects=["demo"], role="writer")
    yield made
    made.api.close()


def test_somebody_new_gets_a_user_with_the_configured_role(place: Place) -> None:
    assert "Log in with company" in place.person.get("/login").text
    query = parse_qs(urlsplit(place.begin()).query)
    assert (query["code_challenge_method"], query["scope"]) == (["S256"], ["openid profile email"])
    assert {"state", "nonce", "code_challenge"} <= query.keys()
    answer = place.log_in(path="/login/company?next=/p/demo/")
    assert (answer.status_code, answer.location) == (303, "/p/demo/")
    assert place.user == "grace"
    grace = users.find_by_name(place.api.db, "grace")
    assert grace is not None
    assert not grace.is_admin
    assert members.find_role(place.api.db, grace.id, place.api.demo.id) is Role.WRITER
    (entry,) = audit.search(place.api.db, AuditQuery(action=Act.LOGIN), 9)
    assert (entry.username, entry.token, entry.address) == ("grace", "", "127.0.0.1")
    place.person = Person(place.api)
    place.log_in()
    assert place.user == "grace"
    assert [user.username for user in users.list_users(place.api.db)] == ["admin", "grace"]


def test_a_user_of_the_same_name_is_never_taken(place: Place) -> None:
    place.log_in(sub="8")
    assert place.user == "admin-2"
    found = users.find_by_name(place.api.db, "admin-2")
    assert found is not None
    assert not found.is_admin


def test_an_account_is_linked_by_its_user_alone(place: Place) -> None:
    place.person.log_in()
    assert place.person.get("/login/company?link=guessed").status_code == 403
    back = place.consent(place.begin(place.link()), "8")
    assert Person(place.api).get(back).status_code == 403  # in the browser of somebody else
    assert place.person.get(back).location == "/auth/tokens/#h-logins"
    assert [login.subject for login in logins.list_logins(place.api.db, place.api.admin.id)] == ["8"]
    place.person = Person(place.api)
    place.log_in(sub="8")
    assert place.user == "admin"
    other = identities.add_user(place.api.db, "other", is_admin=False)
    assert other.id
    issuer = logins.list_logins(place.api.db, place.api.admin.id)[0].issuer
    stranger = Person(place.api)
    stranger.log_in("other", identities.create_token(place.api.db, "other", [Scope.ADMIN]).secret)
    stranger.post("/auth/logins/remove", "/auth/tokens/", issuer=issuer, subject="8")
    assert logins.list_logins(place.api.db, place.api.admin.id)
    place.person.post("/auth/logins/remove", "/auth/tokens/", issuer=issuer, subject="8")
    assert logins.list_logins(place.api.db, place.api.admin.id) == []
    entries = audit.search(place.api.db, AuditQuery(kind=Kind.LOGIN), 9)
    assert [(entry.action, entry.name) for entry in entries] == [(Act.REMOVE, "admin"), (Act.CREATE, "admin")]


def test_an_account_of_somebody_else_cannot_be_linked(place: Place) -> None:
    place.log_in()
    place.person = Person(place.api)
    place.person.log_in()
    answer = place.person.get(place.consent(place.begin(place.link())))
    assert answer.status_code == 403
    assert "grace belongs to another user of this server" in answer.text


def test_a_disabled_user_stays_out(place: Place) -> None:
    place.log_in()
    identities.disable(place.api.db, "grace")
    place.person = Person(place.api)
    answer = place.log_in()
    assert (answer.status_code, "User grace is disabled." in answer.text) == (403, True)
    assert place.user == ""


def test_without_create_strangers_are_told_what_to_do(tmp_path: Path, issuer: str) -> None:
    place = Place(tmp_path, issuer)
    answer = place.log_in()
    assert answer.status_code == 403
    assert "No user here belongs to grace." in answer.text
    assert users.find_by_name(place.api.db, "grace") is None
    assert audit.search(place.api.db, AuditQuery(action=Act.FAILED_LOGIN), 1)
    place.api.close()


@pytest.mark.parametrize(("limits", "sub", "welcome"), [
    ({"domains": ["example.org"]}, "7", True),
    ({"domains": ["Example.org"]}, "8", False),
    ({"domains": ["example.org"]}, "9", False),  # the address is not verified
    ({"groups": ["research", "staff"]}, "7", True),
    ({"groups": ["staff"]}, "7", False),
    ({"groups": ["staff"]}, "8", False),
])  # fmt: skip
def test_domains_and_groups_limit_who_may_log_in(
    tmp_path: Path, issuer: str, limits: Mapping[str, Any], sub: str, welcome: bool
) -> None:
    place = Place(tmp_path, issuer, create=True, **limits)
    assert place.log_in(sub=sub).status_code == (303 if welcome else 403)
    assert bool(place.user) is welcome
    place.api.close()


def test_an_answer_counts_once_and_for_its_own_attempt_only(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    first = place.consent(place.begin())
    assert place.person.get(first.replace("state=", "state=x")).status_code == 403  # a wrong state
    assert place.person.get(first).status_code == 403  # which has ended the attempt
    second = place.consent(place.begin())
    assert place.person.get(second).status_code == 303
    place.person = Person(place.api)
    assert place.person.get(second).status_code == 403  # a replay elsewhere
    third = place.consent(place.begin())
    place.begin()  # a newer attempt in another window
    assert place.person.get(third).status_code == 403
    late = place.consent(place.begin())
    monkeypatch.setattr(providers, "PENDING_S", -1.0)
    answer = place.person.get(late)
    assert (answer.status_code, "too long ago" in answer.text) == (403, True)
    assert place.user == ""


def test_an_attempt_ends_at_the_provider_where_it_began(place: Place) -> None:
    answer = place.person.get(place.consent(place.begin()).replace("/login/company/", "/login/second/"))
    assert (answer.status_code, "in another window" in answer.text) == (403, True)
    assert place.user == ""


def test_a_token_for_another_log_in_is_refused(place: Place) -> None:
    """As if the code of an attempt in another browser was put into this one."""
    answer = place.person.get(place.consent(place.begin().replace("nonce=", "nonce=x")))
    assert (answer.status_code, "it is for another login" in answer.text) == (403, True)
    assert place.user == ""


class Forger(ThreadingHTTPServer):
    """A provider whose published key did not sign the tokens that it is told to answer with."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), ForgerHandler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.key = RSAKey.generate_key(2048, {"kid": "1"})
        self.signed_by: tuple[str, Any] = ("RS256", self.key)
        self.nonce = ""

    def answer(self, path: str) -> Any:
        if path == "/keys":
            return {"keys": [self.key.as_dict(private=False)]}
        if path == "/token":
            algorithm, key = self.signed_by
            claims = {"iss": self.url, "aud": "pushmill", "exp": time.time() + 60, "nonce": self.nonce, "sub": "7"}
            known = {"algorithms": [algorithm]}
            return {"id_token": jwt.encode({"alg": algorithm, "kid": "1"}, claims, key, **known)}
        named = {f"{name}_endpoint": f"{self.url}/{name}" for name in ("authorization", "token")}
        return {"issuer": self.url, "jwks_uri": f"{self.url}/keys", **named}


class ForgerHandler(BaseHTTPRequestHandler):
    server: Forger

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Quiet."""

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = json.dumps(self.server.answer(self.path)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815


@pytest.mark.parametrize(
    ("forged", "welcome"), [("", True), ("another key", False), ("an HMAC", False), ("none", False)]
)
def test_a_token_that_the_provider_did_not_sign_is_refused(tmp_path: Path, forged: str, welcome: bool) -> None:
    with Forger() as forger:
        threading.Thread(target=forger.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        place = Place(tmp_path, forger.url, create=True)
        query = parse_qs(urlsplit(place.begin()).query)
        forger.nonce = query["nonce"][0]
        if forged == "another key":
            forger.signed_by = ("RS256", RSAKey.generate_key(2048, {"kid": "1"}))
        elif forged == "an HMAC":
            forger.signed_by = ("HS256", OctKey.generate_key(256))
        elif forged == "none":
            forger.signed_by = ("none", forger.key)
        answer = place.person.get(f"/login/company/callback?state={query['state'][0]}&code=1")
        assert answer.status_code == (303 if welcome else 403), answer.text
        assert bool(place.user) is welcome
        forger.shutdown()
        place.api.close()


def test_a_refusal_of_the_provider_is_shown(place: Place) -> None:
    state = parse_qs(urlsplit(place.begin()).query)["state"][0]
    back = f"/login/company/callback?state={state}&error=access_denied&error_description=<b>not you</b>"
    answer = place.person.get(back)
    assert answer.status_code == 403
    assert "The provider refused: &lt;b&gt;not you&lt;/b&gt;" in answer.text


def test_the_challenge_belongs_to_the_verifier() -> None:
    config = LoginConfig(kind="github", client_id="a", client_secret="b")
    url, attempt = Providers({"github": config}).begin("github", redirect_uri="https://here.example/x", to="/")
    digest = hashlib.sha256(attempt.verifier.encode()).digest()
    challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    assert url.startswith("https://github.com/login/oauth/authorize?")
    assert parse_qs(urlsplit(url).query)["code_challenge"] == [challenge]
    assert attempt.verifier not in url


@pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:x"])
def test_nobody_is_sent_to_another_site(place: Place, target: str) -> None:
    assert place.log_in(path=f"/login/company?next={target}").location == "/"


def test_a_provider_that_is_away_is_named(tmp_path: Path) -> None:
    place = Place(tmp_path, "http://127.0.0.1:9")
    answer = place.person.get("/login/company")
    assert answer.status_code == 403
    assert "http://127.0.0.1:9/.well-known/openid-configuration cannot be reached" in answer.text
    assert place.person.get("/login/other").status_code == 404
    place.api.close()


CLAIMS = {"iss": "https://id.example", "aud": "pushmill", "exp": 1000.0, "nonce": "n", "sub": "7"}


@pytest.mark.parametrize(("changes", "problem"), [
    ({}, ""),
    ({"aud": ["other", "pushmill"], "azp": "pushmill"}, ""),
    ({"iss": "https://evil.example"}, "another issuer"),
    ({"aud": "other"}, "another client"),
    ({"aud": ["pushmill", "other"], "azp": "other"}, "another client"),
    ({"exp": 1.0}, "expired"),
    ({"exp": None}, "expired"),
    ({"nonce": "of another attempt"}, "another login"),
    ({"nonce": None}, "another login"),
    ({"sub": ""}, "no subject"),
])  # fmt: skip
def test_claims_of_a_token_for_somebody_else_are_refused(changes: Mapping[str, Any], problem: str) -> None:
    config = LoginConfig(issuer="https://id.example/", client_id="pushmill", client_secret="x")
    found = find_claim_problem(CLAIMS | changes, config, "n", 900.0)
    assert (problem in found) if problem else (found == "")


@pytest.mark.parametrize(("values", "words"), [
    ({"issuer": "http://id.example"}, "issuer must be an https:// URL"),
    ({"issuer": "https://id.example", "client_secret": ""}, "needs client_id"),
    ({"issuer": "https://id.example", "role": "boss"}, "role must be"),
    ({"kind": "saml"}, "kind must be"),
    ({"isuer": "x"}, 'did you mean "issuer"'),
])  # fmt: skip
def test_settings_that_cannot_work_are_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=r"login\.company") as caught:
        build_config({"login": {"company": {"client_id": "a", "client_secret": "b"} | values}}, Path("/nowhere"))
    assert words in str(caught.value)


def test_a_server_without_providers_shows_nothing_of_them(api: ApiServer) -> None:
    person = Person(api)
    assert "/login/" not in person.get("/login").text
    person.log_in()
    assert "Login accounts" not in person.get("/auth/tokens/").text
