"""Users with roles and passwords: invitations, logins, accounts, members, and the effects of disabling a user."""

from __future__ import annotations

import io
import json
import re
import subprocess
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import command_line
import pytest
from api_server import ApiServer
from instance import Checkout
from push_server import PushServer, step
from site_client import Person
from test_runner_rights import CONTENT, OID, basic, token

from core import clock
from core.errors import Denied, NotFound, TooMany
from core.git import lfs
from core.identity import Scope
from core.rights import Role
from web.http import git
from web.services import identities, login, passwords, throttle
from web.services.repositories import hosting
from web.store import audit, members, sessions, users
from web.store.audit import Act, AuditQuery, Kind
from web.store.db import connect, execute, fetch_rows, transaction

PASSWORD = "correct horse battery"
SECRET = re.compile(r"pm_[0-9a-f]{40}")
LINK = re.compile(r"https?://[^/\s]+(/invitations/[A-Za-z0-9_-]+)")


def pushmill(api: ApiServer, *arguments: str) -> subprocess.CompletedProcess[str]:
    return command_line.pushmill(api.config.data, *arguments)


def with_password(api: ApiServer, name: str = "grace", role: Role | None = Role.WRITER) -> Person:
    """A new user with a password and a role in demo, not yet logged in."""
    identities.add_user(api.db, name, is_admin=False)
    identities.accept_with_password(api.db, identities.invite(api.db, name), PASSWORD)
    identities.set_role(api.db, api.demo, name, role)
    return Person(api)


# invitations


def test_an_invitation_sets_a_password_once_and_logs_in(api: ApiServer) -> None:
    done = pushmill(api, "user", "add", "grace", "--invite")
    link = LINK.search(done.stdout)
    assert link is not None
    person = Person(api)
    short = person.post(link[1], link[1], password="short")
    assert (short.status_code, "a password has 10 to 200 characters" in short.text) == (400, True)
    assert person.post(link[1], link[1], password=PASSWORD).status_code == 303
    assert person.get("/").status_code == 200
    assert [one.detail for one in audit.search(api.db, AuditQuery(username="grace", action=Act.CHANGE), 9)] == [
        "password"
    ]
    assert Person(api).get(link[1]).status_code == 404
    assert Person(api).log_in("grace", PASSWORD).status_code == 303
    assert subprocess.run(["grep", "-raF", PASSWORD, str(api.config.data)], capture_output=True).returncode == 1


def test_an_invitation_gives_a_token_once(api: ApiServer) -> None:
    identities.add_user(api.db, "grace", is_admin=False)
    path = f"/invitations/{identities.invite(api.db, 'grace')}"
    shown = Person(api).post(path, path, token="1")
    secret = SECRET.search(shown.text)
    assert secret is not None
    assert shown.headers["Cache-Control"] == "no-store"
    assert Person(api).log_in("grace", secret[0]).status_code == 303
    assert Person(api).get(path).status_code == 404


def expired(api: ApiServer) -> None:
    execute(api.db, "UPDATE invitation SET expires_at = ?", (clock.add_to_now(-1),))


def replaced(api: ApiServer) -> None:
    identities.invite(api.db, "grace")


def disabled(api: ApiServer) -> None:
    identities.disable(api.db, "grace")
    identities.enable(api.db, "grace")


@pytest.mark.parametrize("end", [expired, replaced, disabled])
def test_an_invitation_ends(api: ApiServer, end: object) -> None:
    identities.add_user(api.db, "grace", is_admin=False)
    path = f"/invitations/{identities.invite(api.db, 'grace')}"
    assert Person(api).get(path).status_code == 200
    assert callable(end)
    end(api)
    refused = Person(api).get(path)
    assert (refused.status_code, "Ask for a new one" in refused.text) == (404, True)


def test_an_invitation_counts_once_also_at_the_same_time(api: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    identities.add_user(api.db, "grace", is_admin=False)
    secret, found = identities.invite(api.db, "grace"), sessions.find_invited_user
    both, results = threading.Barrier(2), list[str]()
    hashed = passwords.hash_password

    def together(password: str) -> str:
        made = hashed(password)
        both.wait(60)
        return made

    monkeypatch.setattr(passwords, "hash_password", together)

    def accept(password: str) -> None:
        with closing(connect(api.config.database)) as db:
            try:
                identities.accept_with_password(db, secret, password)
                results.append(password)
            except NotFound:
                results.append("")

    people = [threading.Thread(target=accept, args=(f"{PASSWORD} {number}",)) for number in range(2)]
    for one in people:
        one.start()
    for one in people:
        one.join(60)
    assert found(api.db, secret) is None
    (winner,) = filter(None, results)
    assert Person(api).log_in("grace", winner).status_code == 303


def test_a_reset_ends_the_password_and_the_sessions_and_keeps_the_tokens(api: ApiServer) -> None:
    person = with_password(api)
    made = identities.create_token(api.db, "grace", [Scope.READ])
    person.log_in("grace", PASSWORD)
    link = LINK.search(pushmill(api, "user", "reset", "grace").stdout)
    assert link is not None
    assert person.get("/").status_code == 303
    assert Person(api).log_in("grace", PASSWORD).status_code == 401
    assert users.find_by_token(api.db, made.secret) is not None
    assert Person(api).get(link[1]).status_code == 200


# logins


def test_vh_logs_in_with_a_password_and_gets_a_token_of_its_own(api: ApiServer) -> None:
    with_password(api)
    answer = api.client.post("/api/v0/get-token/", json={"username": "grace", "password": PASSWORD})
    assert answer.status_code == 200
    assert answer.json is not None
    secret = answer.json["token"]
    assert api.client.get("/api/v0/users/me/", headers={"Authorization": token(secret)}).status_code == 200
    (listed,) = [one for one in users.list_tokens(api.db) if one.username == "grace"]
    assert listed.name.startswith("login of ")
    assert listed.expires_at is not None
    (entry,) = audit.search(api.db, AuditQuery(kind=Kind.TOKEN, action=Act.CREATE, username="grace"), 9)
    assert (entry.name, entry.address) == (str(listed.id), "127.0.0.1")


def test_many_failures_of_an_account_refuse_strangers_and_nobody_who_was_there_before(api: ApiServer) -> None:
    person = with_password(api)
    assert person.log_in("grace", PASSWORD).status_code == 303

    def log_in(secret: str, address: str) -> int:
        asked = {"username": "grace", "password": secret}
        return api.client.post("/api/v0/get-token/", json=asked, environ_base={"REMOTE_ADDR": address}).status_code

    for number in range(throttle.FAILURES):
        assert log_in("wrong password", f"192.0.2.{number + 1}") == 400
    assert log_in(PASSWORD, "192.0.2.200") == 429
    assert log_in(PASSWORD, "127.0.0.1") == 200, "grace has a session there"
    made = identities.create_token(api.db, "grace", [Scope.ADMIN])
    assert log_in(made.secret, "192.0.2.200") == 200, "tokens cannot be guessed"


def test_guesses_at_the_same_time_count(api: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them are compared before any has failed."""
    with_password(api)
    found, begun = throttle.Throttle(), threading.Barrier(throttle.FAILURES + 1)
    go_on = threading.Event()

    def compare(hashed: str | None, secret: str) -> bool:
        begun.wait(60)
        return not go_on.wait(60)

    monkeypatch.setattr(passwords, "matches", compare)

    def guess() -> None:
        with closing(connect(api.config.database)) as db:
            assert login.recognise(db, found, "grace", "a guess", "192.0.2.1") is None

    guesses = [threading.Thread(target=guess) for _ in range(throttle.FAILURES)]
    for one in guesses:
        one.start()
    begun.wait(60)
    with pytest.raises(TooMany):
        login.recognise(api.db, found, "grace", "one more", "192.0.2.1")
    go_on.set()
    for one in guesses:
        one.join(60)


def test_successes_do_not_count(api: ApiServer) -> None:
    with_password(api)
    found = throttle.Throttle()
    for _ in range(throttle.FAILURES + 1):
        assert login.recognise(api.db, found, "grace", PASSWORD, "192.0.2.1") is not None


def test_long_names_that_are_typed_take_bounded_memory(api: ApiServer) -> None:
    found = throttle.Throttle()
    login.recognise(api.db, found, "x" * 1_000_000, "wrong", "192.0.2.1")
    assert sum(map(len, found._times)) < 1000


# disabling


def test_disabling_ends_password_sessions_tokens_and_the_next_look_of_live_pages(api: ApiServer) -> None:
    person = with_password(api)
    made = identities.create_token(api.db, "grace", [Scope.ADMIN])
    person.log_in("grace", PASSWORD)
    execution = api.add_execution()
    stream = f"/p/demo/executions/{execution.counter}/news"
    assert person.get(stream).status_code == 200
    assert pushmill(api, "user", "disable", "grace").returncode == 0
    assert person.get(stream).status_code == 303
    assert api.client.get("/api/v0/users/me/", headers={"Authorization": token(made.secret)}).status_code == 401
    assert Person(api).log_in("grace", PASSWORD).status_code == 401
    assert pushmill(api, "user", "enable", "grace").returncode == 0
    assert person.get("/").status_code == 303, "the sessions of before do not come back"
    assert users.find_by_token(api.db, made.secret) is not None


def test_a_disabled_user_and_one_without_the_role_do_not_push(
    pushes: PushServer, checkout: Checkout, tmp_path: Path
) -> None:
    checkout.commit({"valohai.yaml": step("train")})
    identities.add_user(pushes.db, "grace", is_admin=False)
    secret = identities.create_token(pushes.db, "grace", [Scope.PUSH]).secret
    own, other = pushes.git_url("graces", secret), pushes.git_url("model", secret)
    checkout.git(
        "push", pushes.git_url("model", identities.create_token(pushes.db, "admin", [Scope.PUSH]).secret), "main"
    )
    assert "not found" in checkout.git("push", other, "main", check=False).stderr
    assert "/p/graces/commits/" in checkout.git("push", own, "main").stderr
    checkout.commit({"valohai.yaml": step("again")})
    identities.disable(pushes.db, "grace")
    assert checkout.git("push", own, "main", check=False).returncode != 0
    (owner,) = fetch_rows(
        pushes.db, "SELECT role FROM member JOIN project ON project.id = project_id WHERE name = 'graces'"
    )
    assert owner["role"] == "owner"


@pytest.mark.parametrize("end", ["disable", "leave"])
def test_a_running_push_breaks_off_when_its_user_may_no_longer_push(
    api: ApiServer, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    monkeypatch.setattr(git, "WATCH_S", 0)
    with_password(api)
    identity = users.find_by_token(api.db, identities.create_token(api.db, "grace", [Scope.PUSH]).secret)
    assert identity is not None
    body = git.WatchedPush(io.BytesIO(b"a pack"), api.config, identity, api.demo.id)
    assert body.read(2) == b"a "
    if end == "disable":
        identities.disable(api.db, "grace")
    else:
        identities.set_role(api.db, api.demo, "grace", Role.READER)
    with pytest.raises(Denied):
        body.read(2)


def test_the_last_bytes_of_a_push_are_not_passed_on_when_its_user_was_disabled_while_they_were_awaited(
    api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(git, "WATCH_S", 0)
    with_password(api)
    identity = users.find_by_token(api.db, identities.create_token(api.db, "grace", [Scope.PUSH]).secret)
    assert identity is not None

    class Slow:
        def read(self, size: int) -> bytes:
            identities.disable(api.db, "grace")
            return b"the last byte"

    with pytest.raises(Denied):
        git.WatchedPush(Slow(), api.config, identity, api.demo.id).read(99)


def test_an_upload_of_git_lfs_breaks_off_when_its_user_was_disabled(
    api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(git, "WATCH_S", 0)
    with_password(api)
    headers = {"Authorization": basic(identities.create_token(api.db, "grace", [Scope.PUSH]).secret)}

    class Slow(io.BytesIO):
        def readinto(self, buffer: Any) -> int:
            identities.disable(api.db, "grace")
            return super().readinto(buffer)

    answer = api.client.put(
        f"/git/demo.git/info/lfs/objects/{OID}",
        input_stream=Slow(CONTENT),
        headers=headers,
        content_length=len(CONTENT),
    )
    assert answer.status_code == 403
    store = hosting.get_lfs_path(api.config, hosting.get_repository(api.db, api.demo))
    assert not lfs.has_object(store, OID, len(CONTENT))


def test_a_reader_sees_no_buttons_for_what_only_writers_and_owners_may(api: ApiServer) -> None:
    execution = api.add_execution()
    found = {}
    for role in Role:
        person = with_password(api, role.value, role)
        person.log_in(role.value, PASSWORD)
        path = f"/p/demo/executions/{execution.counter}/"
        page, news = person.get(path).text, person.get(f"{path}news").text
        settings = "".join(person.get(f"/p/demo/settings/{part}/").text for part in ("variables", "members"))
        found[role] = ("/stop" in page, "/stop" in news, "Set variable" in settings, "Add member" in settings)
    assert found == {
        Role.READER: (False, False, False, False),
        Role.WRITER: (True, True, False, False),
        Role.OWNER: (True, True, True, True),
    }


def test_the_last_administrator_stays(api: ApiServer) -> None:
    for arguments in (("disable", "admin"), ("set-role", "admin", "user")):
        assert "only administrator" in pushmill(api, "user", *arguments).stderr
    identities.add_user(api.db, "grace", is_admin=False)
    assert pushmill(api, "user", "set-role", "grace", "admin").returncode == 0
    assert pushmill(api, "user", "set-role", "admin", "user").returncode == 0


# the account's page


def test_a_user_makes_and_revokes_tokens_and_sees_only_own_ones(api: ApiServer) -> None:
    person = with_password(api)
    person.log_in("grace", PASSWORD)
    path = "/auth/tokens/"
    made = person.post(path, path, token_name="laptop", scope="launch", days="90")
    secret = SECRET.search(made.text)
    assert secret is not None
    found = users.find_by_token(api.db, secret[0])
    assert found is not None
    assert found.scopes == {Scope.LAUNCH}
    page = person.get(path).text
    assert ("laptop" in page, secret[0] in page, "first start" in page) == (True, False, False)
    assert person.post(f"{path}1/revoke", path).status_code == 404, "the token of admin"
    assert person.post(f"{path}{found.token_id}/revoke", path).status_code == 303
    assert users.find_by_token(api.db, secret[0]) is None


def test_a_user_sees_and_ends_sessions(api: ApiServer) -> None:
    person, elsewhere, third = with_password(api), Person(api), Person(api)
    for one in (person, elsewhere, third):
        one.log_in("grace", PASSWORD)
    user = users.find_by_name(api.db, "grace")
    assert user is not None
    found = sessions.list_sessions(api.db, user.id)
    assert len(found) == 3
    page = person.get("/auth/tokens/").text
    other = next(one.id for one in found if f"/auth/sessions/{one.id}/end" in page)
    stranger = with_password(api, "ada")
    stranger.log_in("ada", PASSWORD)
    stranger.post(f"/auth/sessions/{other}/end", "/auth/tokens/")
    assert len(sessions.list_sessions(api.db, user.id)) == 3
    person.post(f"/auth/sessions/{other}/end", "/auth/tokens/")
    assert sorted(one.get("/").status_code for one in (person, elsewhere, third)) == [200, 200, 303]
    person.post("/auth/sessions/end", "/auth/tokens/")
    assert [one.get("/").status_code for one in (person, elsewhere, third)] == [200, 303, 303]


def test_a_password_is_changed_with_the_old_one_and_ends_other_sessions(api: ApiServer) -> None:
    person, elsewhere = with_password(api), Person(api)
    for one in (person, elsewhere):
        one.log_in("grace", PASSWORD)
    wrong = person.post("/auth/password", "/auth/tokens/", old="no", password="another password")
    assert (wrong.status_code, "the old password is wrong" in wrong.text) == (400, True)
    assert person.post("/auth/password", "/auth/tokens/", old=PASSWORD, password="another password").status_code == 303
    assert (person.get("/").status_code, elsewhere.get("/").status_code) == (200, 303)
    assert Person(api).log_in("grace", "another password").status_code == 303


def test_a_token_does_not_replace_the_old_password(api: ApiServer) -> None:
    """Whoever has got hold of a session can create one, and must not become its owner for good."""
    person = with_password(api)
    person.log_in("grace", PASSWORD)
    made = identities.create_token(api.db, "grace", [Scope.ADMIN])
    answer = person.post("/auth/password", "/auth/tokens/", old=made.secret, password="another password")
    assert (answer.status_code, "the old password is wrong" in answer.text) == (400, True)
    assert Person(api).log_in("grace", PASSWORD).status_code == 303


def test_a_session_ends_after_30_days_however_much_it_is_used(api: ApiServer) -> None:
    person = with_password(api)
    person.log_in("grace", PASSWORD)
    execute(api.db, "UPDATE session SET created_at = ?", (clock.add_to_now(-29.9 * 86400),))
    assert person.get("/").status_code == 200
    execute(api.db, "UPDATE session SET created_at = ?", (clock.add_to_now(-30.1 * 86400),))
    assert person.get("/").status_code == 303
    grace = users.find_by_name(api.db, "grace")
    assert grace is not None
    assert sessions.list_sessions(api.db, grace.id) == []


def test_a_token_to_launch_makes_no_tokens(api: ApiServer) -> None:
    made = identities.create_token(api.db, "admin", [Scope.LAUNCH])
    form = {"token_name": "more", "scope": "admin", "days": ""}
    answer = api.client.post("/auth/tokens/", data=form, headers={"Authorization": token(made.secret)})
    assert answer.status_code == 403


# members and users


def test_an_owner_gives_and_takes_roles(api: ApiServer) -> None:
    person = with_password(api, role=Role.OWNER)
    identities.add_user(api.db, "ada", is_admin=False)
    person.log_in("grace", PASSWORD)
    where = ("/p/demo/settings/members", "/p/demo/settings/members/")
    assert person.post(*where, username="ada", role="reader").status_code == 303
    ada = users.find_by_name(api.db, "ada")
    assert ada is not None
    assert members.find_role(api.db, ada.id, api.demo.id) is Role.READER
    assert person.post(*where, username="ada", role="king").status_code == 400
    assert person.post(*where, username="nobody", role="reader").status_code == 404
    person.post(*where, username="ada", role="none")
    assert members.find_role(api.db, ada.id, api.demo.id) is None


def test_roles_are_set_and_listed_by_the_command_line(api: ApiServer) -> None:
    pushmill(api, "user", "add", "grace")
    assert pushmill(api, "user", "set-role", "grace", "writer", "--project", "demo").returncode == 0
    assert "demo (writer)" in pushmill(api, "user", "list").stdout
    listed = {one["username"]: one for one in json.loads(pushmill(api, "user", "list", "--json").stdout)}
    assert listed["grace"]["projects"] == {"demo": "writer"}
    assert "ROLE must be admin, user" in pushmill(api, "user", "set-role", "grace", "writer").stderr
    assert "ROLE must be reader" in pushmill(api, "user", "set-role", "grace", "admin", "--project", "demo").stderr
    assert pushmill(api, "user", "set-role", "grace", "none", "--project", "demo").returncode == 0
    assert "demo (writer)" not in pushmill(api, "user", "list").stdout


def test_an_administrator_invites_disables_and_enables_on_the_page(api: ApiServer) -> None:
    admin = Person(api)
    admin.log_in()
    invited = admin.post("/users/", "/users/", username="grace")
    link = LINK.search(invited.text)
    assert link is not None
    assert Person(api).get(link[1]).status_code == 200
    assert link[1] not in admin.get("/users/").text
    for action, state in (("disable", True), ("enable", False)):
        admin.post(f"/users/grace/{action}", "/users/")
        user = users.find_by_name(api.db, "grace")
        assert user is not None
        assert (user.disabled_at is not None) is state
    admin.post("/users/grace/admin", "/users/", admin="1")
    assert "admin" in pushmill(api, "user", "list").stdout.splitlines()[1]
    assert admin.post("/users/", "/users/", username="a b").status_code == 400
    assert admin.post("/users/", "/users/", username="grace").status_code == 409


def test_users_of_an_older_server_own_its_projects(api: ApiServer) -> None:
    """The migration's statement, on today's tables."""
    with transaction(api.db):
        users.add(api.db, "grace", is_admin=False)
        execute(api.db, "DELETE FROM member")
    from web.store.migrations import m0017_people

    (statement,) = re.findall(r"INSERT INTO member[^;]+", m0017_people.SQL)
    execute(api.db, statement)
    assert [(one.username, one.role) for one in members.list_members(api.db, api.demo.id)] == [
        ("admin", Role.OWNER),
        ("grace", Role.OWNER),
    ]
    (made,) = {one.created_at for one in members.list_members(api.db, api.demo.id)}
    assert clock.count_seconds_between(made, clock.now()) < 60
