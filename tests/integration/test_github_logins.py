"""Logins with GitHub, from the button to the user, against its OAuth on loopback."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import fake_forge_logins
import httpx
import pytest
from api_server import ApiServer
from fake_forge import FakeForge
from fake_forge_logins import CLIENT
from site_client import CSRF, Person
from werkzeug.test import TestResponse

from web.services import identities
from web.store import audit, logins, users
from web.store.audit import Act, AuditQuery

GRACE: Mapping[str, Any] = {"id": 7, "login": "grace"}
MAIL = {"email": "grace@example.org", "primary": True, "verified": True}


class Place:
    """A server that GitHub's people can log in to, and a browser."""

    def __init__(self, folder: Path, forge: FakeForge, **login: Any) -> None:
        self.forge = forge
        values = {"kind": "github", "issuer": forge.origin, "client_id": CLIENT[0], "client_secret": CLIENT[1]}
        self.api = ApiServer(folder / "data", login={"github": values | {"create": True} | login})
        self.person = Person(self.api)

    def consent(self, path: str = "/login/github") -> str:
        """Go to GitHub, and return the path that it sends the browser back to."""
        begun = self.person.get(path)
        assert begun.status_code == 303, begun.text
        back = urlsplit(httpx.get(begun.location).headers["Location"])
        return f"{back.path}?{back.query}"

    def log_in(self, who: Mapping[str, Any] | None = GRACE, path: str = "/login/github") -> TestResponse:
        self.forge.browser = None if who is None else dict(who)
        return self.person.get(self.consent(path))

    @property
    def user(self) -> str:
        return self.person.get("/").text.partition('<summary><span class="clip">')[2].partition("<")[0]

    def asked(self, path: str) -> int:
        return sum(call.path.startswith(path) for call in self.forge.calls)


@pytest.fixture
def place(tmp_path: Path, forge: FakeForge) -> Iterator[Place]:
    made = Place(tmp_path, forge)
    yield made
    made.api.close()


def test_somebody_goes_to_github_and_comes_back_as_a_user(place: Place) -> None:
    answer = place.log_in(path="/login/github?next=/auth/tokens/")
    assert (answer.status_code, answer.location) == (303, "/auth/tokens/")
    assert place.user == "grace"
    grace = users.find_by_name(place.api.db, "grace")
    assert grace is not None
    assert not grace.is_admin
    (login,) = logins.list_logins(place.api.db, grace.id)
    assert (login.issuer, login.subject, login.name) == (place.forge.origin, "7", "grace")
    asked = parse_qs(urlsplit(next(call.path for call in place.forge.calls)).query)
    assert asked["scope"] == ["read:user user:email read:org"]
    assert asked["redirect_uri"][0].endswith("/login/github/callback")


def test_the_second_log_in_of_a_renamed_account_is_the_same_user(place: Place) -> None:
    place.log_in()
    place.person = Person(place.api)
    place.log_in({"id": 7, "login": "grace-hopper"})
    assert place.user == "grace"
    assert [user.username for user in users.list_users(place.api.db)] == ["admin", "grace"]
    grace = users.find_by_name(place.api.db, "grace")
    assert grace is not None
    assert [login.name for login in logins.list_logins(place.api.db, grace.id)] == ["grace-hopper"]


def test_whoever_takes_over_the_old_name_is_somebody_else(place: Place) -> None:
    place.log_in()
    place.person = Person(place.api)
    place.log_in({"id": 8, "login": "grace"})
    assert place.user == "grace-2"


def test_a_denial_is_shown_and_logs_nobody_in(place: Place) -> None:
    answer = place.log_in(None)
    assert answer.status_code == 403
    assert "The provider refused: The user has denied your application access." in answer.text
    assert place.user == ""
    assert place.asked("/login/oauth/access_token") == 0
    assert audit.search(place.api.db, AuditQuery(action=Act.FAILED_LOGIN), 9)


def test_an_answer_with_a_wrong_state_is_refused_before_github_is_asked(place: Place) -> None:
    place.forge.browser = dict(GRACE)
    back = place.consent()
    assert place.person.get(back.replace("state=", "state=x")).status_code == 403
    assert Person(place.api).get(back).status_code == 403  # a browser that has begun nothing
    assert place.asked("/login/oauth/access_token") == 0
    assert place.user == ""


def test_a_code_counts_once_here_and_there(place: Place) -> None:
    place.forge.browser = dict(GRACE)
    back = place.consent()
    assert place.person.get(back).status_code == 303
    place.person = Person(place.api)
    again = place.consent()
    old, new = (parse_qs(urlsplit(path).query)["code"][0] for path in (back, again))
    answer = place.person.get(again.replace(new, old))  # in an attempt that is valid
    assert answer.status_code == 403
    assert "GitHub refused: The code passed is incorrect or expired." in answer.text
    assert place.user == ""


def test_a_stolen_code_is_worthless_in_another_browser(place: Place) -> None:
    """GitHub checks the verifier, which never left the browser's session."""
    place.forge.browser = dict(GRACE)
    stolen = parse_qs(urlsplit(place.consent()).query)["code"][0]
    place.person = Person(place.api)
    own = place.consent()
    answer = place.person.get(own.replace(parse_qs(urlsplit(own).query)["code"][0], stolen))
    assert (answer.status_code, place.user) == (403, "")


def test_a_disabled_user_stays_out(place: Place) -> None:
    place.log_in()
    running_session = place.person
    identities.disable(place.api.db, "grace")
    assert running_session.get("/").status_code == 303
    place.person = Person(place.api)
    answer = place.log_in()
    assert (answer.status_code, "User grace is disabled." in answer.text) == (403, True)
    assert place.user == ""


def test_an_account_is_linked_to_a_user_who_then_logs_in_with_it(place: Place) -> None:
    place.person.log_in()
    token = CSRF.search(place.person.get("/auth/tokens/").text)
    assert token is not None
    assert place.log_in(path=f"/login/github?link={token[1]}").location == "/auth/tokens/#h-logins"
    place.person = Person(place.api)
    place.log_in()
    assert place.user == "admin"


@pytest.mark.parametrize(("limits", "more", "welcome"), [
    ({"domains": ["example.org"]}, {"emails": [MAIL]}, True),
    ({"domains": ["example.org"]}, {"emails": [MAIL | {"verified": False}]}, False),
    ({"domains": ["example.org"]}, {"emails": [MAIL | {"primary": False}]}, False),
    ({"domains": ["elsewhere.example"]}, {"emails": [MAIL]}, False),  # the public address of the profile
    ({"groups": ["research"]}, {"orgs": ["research", "other"]}, True),
    ({"groups": ["research"]}, {"orgs": ["other"]}, False),
])  # fmt: skip
def test_addresses_and_organisations_limit_who_may_log_in(
    tmp_path: Path, forge: FakeForge, limits: Mapping[str, Any], more: Mapping[str, Any], welcome: bool
) -> None:
    place = Place(tmp_path, forge, **limits)
    assert place.log_in({**GRACE, **more}).status_code == (303 if welcome else 403)
    assert bool(place.user) is welcome
    place.api.close()


@pytest.mark.parametrize(("path", "status", "json"), [
    ("/access_token", 500, None), ("/access_token", 200, []), ("/access_token", 200, {"access_token": 7}),
    ("/api/v3/user", 401, {"message": "Bad credentials"}), ("/api/v3/user", 200, {"login": "grace"}),
    ("/api/v3/user", 200, {"id": True, "login": "grace"}), ("/api/v3/user", 200, ["grace"]), ("/api/v3/user", 200, "x"),
])  # fmt: skip
def test_answers_that_do_not_say_who_it_is_log_nobody_in(place: Place, path: str, status: int, json: Any) -> None:
    place.forge.fail(status, path=path, json=json)
    answer = place.log_in()
    assert answer.status_code == 403
    assert 'role="alert"' in answer.text
    assert place.user == ""
    assert [user.username for user in users.list_users(place.api.db)] == ["admin"]


def test_no_secret_of_github_is_stored_or_shown(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.log_in()
    (token,) = place.forge.tokens
    found = [
        path for path in place.api.config.data.rglob("*") if path.is_file() and token.encode() in path.read_bytes()
    ]
    assert found == []
    monkeypatch.setattr(fake_forge_logins, "CLIENT", ("pushmill", "another"))
    place.person = Person(place.api)
    answer = place.log_in()
    assert (answer.status_code, "GitHub refused: The client_id is not valid." in answer.text) == (403, True)
    assert CLIENT[1] not in answer.text
