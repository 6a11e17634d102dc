"""Users, tokens with scopes and an expiry, and sessions that end with them."""

from __future__ import annotations

import importlib
import json
import pkgutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import command_line
import httpx
import pytest
from api_server import ApiServer, listening
from instance import Checkout
from push_server import PushServer, step
from site_client import Person
from test_runner_rights import Held, basic, held, method_of, token  # noqa: F401

from core import clock
from core.identity import Scope
from core.rights import Role
from web.http import live, streams
from web.services import identities, throttle
from web.services.throttle import Throttle
from web.store import migrations, users
from web.store.db import connect, execute, fetch_row, transaction

PAST = "2020-01-01T00:00:00.000000Z"


def made(api: ApiServer | PushServer, *scopes: Scope, user: str = "admin", **more: Any) -> identities.NewToken:
    return identities.create_token(api.db, user, scopes, **more)


def test_an_administrators_token_administers_only_with_that_scope_and_a_users_never(api: ApiServer) -> None:
    identities.add_user(api.db, "grace", is_admin=False)
    tokens = {
        "of a user": made(api, Scope.ADMIN, user="grace"),
        "to read and push": made(api, Scope.READ, Scope.PUSH),
        "for all": made(api, Scope.ADMIN),
    }
    found = {}
    for name, one in tokens.items():
        headers = {"Authorization": token(one.secret)}
        found[name] = api.client.post("/environments/", data={"slug": "x"}, headers=headers).status_code
    assert (found["of a user"], found["to read and push"]) == (403, 403)
    assert found["for all"] != 403


def revoked(api: ApiServer, token_id: int) -> None:
    users.revoke_token(api.db, token_id)


def expired(api: ApiServer, token_id: int) -> None:
    execute(api.db, "UPDATE token SET expires_at = ? WHERE id = ?", (PAST, token_id))


def deleted(api: ApiServer, token_id: int) -> None:
    execute(api.db, "DELETE FROM token WHERE id = ?", (token_id,))
    identities.create_token(api.db, "admin", [Scope.ADMIN])  # SQLite gives it the id of the deleted one


def disabled(api: ApiServer, token_id: int) -> None:
    identities.disable(api.db, "grace")


ENDS: list[Callable[[ApiServer, int], None]] = [revoked, expired, deleted, disabled]


@pytest.fixture
def grace(api: ApiServer) -> identities.NewToken:
    identities.add_user(api.db, "grace", is_admin=False)
    return made(api, Scope.ADMIN, user="grace")


@pytest.mark.parametrize("end", ENDS)
def test_a_token_that_has_ended_ends_its_sessions_and_opens_nothing(
    api: ApiServer, grace: identities.NewToken, end: Callable[[ApiServer, int], None]
) -> None:
    person, headers = Person(api), {"Authorization": token(grace.secret)}
    assert person.log_in("grace", grace.secret).status_code == 303
    assert person.get("/").status_code == 200
    end(api, grace.id)
    assert (person.get("/").status_code, person.get("/").location) == (303, "/login?next=/")
    assert api.client.get("/api/v0/users/me/", headers=headers).status_code == 401
    assert Person(api).log_in("grace", grace.secret).status_code == 401
    git = {"Authorization": basic(grace.secret)}
    assert api.client.get("/git/demo.git/info/refs?service=git-receive-pack", headers=git).status_code == 401


def test_a_user_who_is_enabled_again_has_the_tokens_of_before(api: ApiServer, grace: identities.NewToken) -> None:
    disabled(api, grace.id)
    with pytest.raises(Exception, match="is disabled"):
        made(api, Scope.READ, user="grace")
    identities.enable(api.db, "grace")
    found = users.find_by_token(api.db, grace.secret)
    assert found is not None
    assert found.user.username == "grace"


def test_a_cookie_that_was_copied_before_the_logout_is_worth_nothing_after_it(
    api: ApiServer, grace: identities.NewToken
) -> None:
    person, thief, other = Person(api), Person(api), Person(api)
    other.log_in()
    person.log_in("grace", grace.secret)
    cookie = person.client.get_cookie("pushmill-8000")
    assert cookie is not None
    thief.client.set_cookie("pushmill-8000", cookie.value)
    assert thief.get("/").status_code == 200
    person.post("/logout", "/")
    assert thief.get("/").status_code == 303
    assert other.get("/").status_code == 200, "the session of another token goes on"
    assert person.log_in("grace", grace.secret).status_code == 303, "the token itself still works"


def test_cookies_of_older_versions_open_nothing(api: ApiServer) -> None:
    client = api.app.test_client()
    with client.session_transaction() as session:
        session["user"] = api.admin.id
    assert client.get("/").status_code == 303


def test_a_token_to_push_logs_nobody_in_and_one_to_read_changes_nothing(api: ApiServer) -> None:
    person = Person(api)
    answer = person.log_in("admin", made(api, Scope.PUSH).secret)
    assert (answer.status_code, "This token is for push" in answer.text) == (403, True)
    person.log_in("admin", made(api, Scope.READ).secret)
    assert person.get("/p/demo/settings/").status_code == 200
    refused = person.post("/p/demo/settings/badge", "/p/demo/settings/", public="1")
    assert refused.status_code == 403
    assert "pushmill token new" in refused.text
    assert person.post("/logout", "/").status_code == 303


@pytest.mark.parametrize("end", ["logout", "revoke", "disable", "leave"])
def test_a_live_stream_ends_with_its_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    monkeypatch.setattr(live, "POLL_S", 0.05)
    monkeypatch.setattr(streams, "HEARTBEAT_S", 0.2)  # so that a stream that did not end says so
    api = ApiServer(tmp_path / "data")
    execution = api.add_execution()
    person = Person(api)
    identities.add_user(api.db, "grace", is_admin=False)
    identities.set_role(api.db, api.demo, "grace", Role.READER)
    grace = made(api, Scope.READ, user="grace")
    person.log_in("grace", grace.secret)
    cookie = person.client.get_cookie("pushmill-8000")
    assert cookie is not None
    closed, given_up = threading.Event(), threading.Event()
    with listening(api.app) as url:

        def follow() -> None:
            jar = {"pushmill-8000": cookie.value}
            address = f"{url}/p/demo/executions/{execution.counter}/events"
            with httpx.stream("GET", address, cookies=jar, timeout=30, trust_env=False) as answer:
                assert answer.status_code == 200
                for _ in answer.iter_lines():
                    followed.set()
                    if given_up.is_set():
                        return
            closed.set()

        followed = threading.Event()
        thread = threading.Thread(target=follow)
        thread.start()
        assert followed.wait(20)
        if end == "logout":
            person.post("/logout", "/")
        elif end == "revoke":
            users.revoke_token(api.db, grace.id)
        elif end == "disable":
            identities.disable(api.db, "grace")
        else:
            identities.set_role(api.db, api.demo, "grace", None)
        try:
            assert closed.wait(20)
        finally:
            given_up.set()
            thread.join()
    api.close()


def test_the_last_use_of_a_token_is_recorded_once_an_hour(api: ApiServer) -> None:
    one = made(api, Scope.READ)
    headers = {"Authorization": token(one.secret)}

    def last_used() -> str | None:
        found = fetch_row(api.db, "SELECT last_used_at FROM token WHERE id = ?", (one.id,))
        assert found is not None
        return found["last_used_at"]  # type: ignore[no-any-return]

    assert last_used() is None
    api.client.get("/api/v0/users/me/", headers=headers)
    first = last_used()
    assert first is not None
    api.client.get("/api/v0/users/me/", headers=headers)
    assert last_used() == first
    execute(api.db, "UPDATE token SET last_used_at = ?", (clock.add_to_now(-3601),))
    api.client.get("/api/v0/users/me/", headers=headers)
    assert (last_used() or "") > first


def test_tokens_of_an_older_database_keep_all_rights(tmp_path: Path) -> None:
    db = connect(tmp_path / "old.db")
    names = sorted(module.name for module in pkgutil.iter_modules(migrations.__path__))
    modules = {name: importlib.import_module(f"web.store.migrations.{name}") for name in names}
    for name in names:
        if name < "m0011":
            modules[name].migrate(db)
    with transaction(db):
        execute(db, "INSERT INTO user (username, is_admin, created_at) VALUES ('admin', 1, ?)", (PAST,))
        sql = "INSERT INTO token (user_id, name, sha256, last8, created_at) VALUES (1, ?, ?, '', ?)"
        for secret in ("pm_one", "pm_two"):
            execute(db, sql, (secret, users.hash_secret(secret), PAST))
    for name in names:
        if name >= "m0011":
            modules[name].migrate(db)
    found = [users.find_by_token(db, secret) for secret in ("pm_one", "pm_two")]
    assert [one.scopes if one else None for one in found] == [{Scope.ADMIN}, {Scope.ADMIN}]
    db.close()


# git


def test_a_token_to_push_pushes_and_one_to_read_fetches(pushes: PushServer, checkout: Checkout, tmp_path: Path) -> None:
    to_push, to_read = (pushes.git_url("model", made(pushes, scope).secret) for scope in (Scope.PUSH, Scope.READ))
    checkout.commit({"valohai.yaml": step("train")})
    assert "403" in checkout.git("push", to_read, "main", check=False).stderr
    assert "/p/model/commits/" in checkout.git("push", to_push, "main").stderr
    clone = ("clone", "-q", "--bare")
    assert "403" in checkout.git(*clone, to_push, str(tmp_path / "a"), check=False).stderr
    assert checkout.git(*clone, to_read, str(tmp_path / "b")).returncode == 0


@pytest.mark.parametrize(
    ("scope", "operation", "status"),
    [
        (Scope.PUSH, "upload", 200), (Scope.READ, "upload", 403), (Scope.PUSH, "download", 403),
        (Scope.READ, "download", 200), (Scope.ADMIN, "upload", 200), (Scope.ADMIN, "download", 200),
    ],
)  # fmt: skip
def test_large_files_need_the_scope_of_what_git_does_with_them(
    api: ApiServer, scope: Scope, operation: str, status: int
) -> None:
    headers = {"Authorization": basic(made(api, scope).secret)}
    asked = {"operation": operation, "objects": [{"oid": "0" * 64, "size": 1}]}
    answer = api.client.post("/git/demo.git/info/lfs/objects/batch", json=asked, headers=headers)
    assert answer.status_code == status
    if scope is Scope.READ:
        assert (
            api.client.put(f"/git/new.git/info/lfs/objects/{'0' * 64}", data=b"x", headers=headers).status_code == 403
        )
        assert fetch_row(api.db, "SELECT * FROM project WHERE name = 'new'") is None


def test_git_says_which_scope_is_missing(api: ApiServer) -> None:
    headers = {"Authorization": basic(made(api, Scope.READ).secret)}
    answer = api.client.get("/git/demo.git/info/refs?service=git-receive-pack", headers=headers)
    assert (answer.status_code, answer.mimetype) == (403, "text/plain")
    assert "This token is for read; this needs one with the scope push or launch or admin" in answer.text


# the command line


def pushmill(api: ApiServer, *arguments: str) -> subprocess.CompletedProcess[str]:
    return command_line.pushmill(api.config.data, *arguments)


def test_users_and_tokens_are_made_listed_and_ended_by_the_command_line(api: ApiServer) -> None:
    assert pushmill(api, "user", "add", "grace").returncode == 0
    assert "user 'grace' already exists" in pushmill(api, "user", "add", "grace").stderr
    done = pushmill(
        api, "token", "new", "grace", "--scope", "push", "--scope", "read", "--expires", "90 d", "--name", "ci"
    )
    secret = done.stdout.strip()
    assert secret.startswith("pm_")
    assert secret not in done.stderr
    assert "git push http://grace:TOKEN@127.0.0.1:8000/git/NAME.git main" in done.stderr
    found = users.find_by_token(api.db, secret)
    assert found is not None
    assert found.scopes == {Scope.PUSH, Scope.READ}
    listed = {one["id"]: one for one in json.loads(pushmill(api, "token", "list", "--json").stdout)}[found.token_id]
    assert (listed["username"], listed["name"], listed["state"]) == ("grace", "ci", "active")
    assert 89 < clock.count_seconds_between(clock.now(), listed["expires_at"]) / 86400 <= 90
    assert subprocess.run(["grep", "-raF", secret, str(api.config.data)], capture_output=True).returncode == 1
    assert "revoked" in pushmill(api, "token", "revoke", str(found.token_id)).stdout
    assert "revoked" in pushmill(api, "token", "list", "grace").stdout
    assert users.find_by_token(api.db, secret) is None
    assert pushmill(api, "user", "disable", "grace").returncode == 0
    assert json.loads(pushmill(api, "user", "list", "--json").stdout)[1]["disabled_at"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("user", "add", "a b"), "is not a valid user name"),
        (("token", "new", "nobody", "--scope", "read"), "there is no user 'nobody'"),
        (("token", "new", "admin"), "Missing option '--scope'"),
        (("token", "new", "admin", "--scope", "read", "--expires", "soon"), "--expires must be a number or text"),
        (("token", "new", "admin", "--scope", "read", "--expires", "9999999 d"), "year 9999"),
        (("token", "revoke", "99"), "there is no token 99"),
        (("user", "disable", "nobody"), "there is no user 'nobody'"),
    ],
)
def test_what_cannot_be_is_refused_with_the_way_out(api: ApiServer, arguments: tuple[str, ...], said: str) -> None:
    done = pushmill(api, *arguments)
    assert done.returncode != 0
    assert said in done.stderr


# guessing


def test_the_api_and_the_page_count_failed_log_ins_together(api: ApiServer) -> None:
    wrong = {"username": "admin", "password": "pm_wrong"}
    person = Person(api)
    for _ in range(5):
        assert api.client.post("/api/v0/get-token/", json=wrong).status_code == 400
        assert person.log_in(token="pm_wrong").status_code == 401
    right = {"username": "admin", "password": api.token}
    answer = api.client.post("/api/v0/get-token/", json=right)
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "60")
    assert answer.json is not None
    assert "Try again in a minute" in answer.json["detail"]
    assert person.log_in().status_code == 429
    elsewhere = api.client.post("/api/v0/get-token/", json=right, environ_base={"REMOTE_ADDR": "192.0.2.7"})
    assert (elsewhere.status_code, elsewhere.json) == (200, {"token": api.token})


def test_neighbours_in_ipv6_are_one_and_many_addresses_take_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle, "ADDRESSES", 100)
    found = Throttle()
    for number in range(1000):
        found.add(f"2001:db8::{number:x}")
    assert len(found._times) == 1
    assert len(found._times.popitem()[1]) == throttle.FAILURES
    for number in range(1000):
        found.add(f"10.0.{number // 250}.{number % 250}")
        for _ in range(throttle.FAILURES):
            found.add("192.0.2.7")  # the one that guesses on is not forgotten for the others' sake
    assert len(found._times) == 100
    assert found.too_many("192.0.2.7")
    assert found.too_many("::ffff:192.0.2.7")
    assert not found.too_many("10.0.3.1")


def test_waiting_ends_when_the_first_failure_is_a_minute_old(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(throttle.time, "monotonic", lambda: now[0])
    found = Throttle()
    for _ in range(throttle.FAILURES):
        found.add("192.0.2.7")
    assert found.too_many("192.0.2.7")
    now[0] += throttle.WINDOW_S + 1
    assert not found.too_many("192.0.2.7")
