"""Members from a Git host, with fake forges: who gets which role, and when it is removed."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import command_line
import httpx
import pytest
from api_server import ApiServer
from fake_forge import FakeForge, running
from fake_forge_logins import CLIENT
from instance import wait_for
from site_client import Person

from core.errors import Conflict, InvalidInput
from core.model import User
from core.rights import Role
from web.processes.sweep import Sweeper
from web.services import identities
from web.services.forges import members as service
from web.services.repositories import credentials
from web.store import audit, logins, member_sources, members, projects
from web.store.audit import AuditQuery, Kind, Way
from web.store.db import execute, transaction

FORGES = ("github", "gitlab", "gitea")
TAG = re.compile(r"<[^>]+>")
EACH = pytest.mark.parametrize("place", FORGES, indirect=True)


class Place:
    """A server with a project `model` of a fake forge, with whose accounts people can log in."""

    def __init__(self, folder: Path, forge: FakeForge, **login: Any) -> None:
        self.forge = forge
        values = {"kind": "github" if forge.kind == "github" else "oidc", "issuer": forge.origin, "create": True}
        sections = {"login": {"forge": values | {"client_id": CLIENT[0], "client_secret": CLIENT[1]} | login}}
        self.folder = folder
        self.api = ApiServer(folder, **sections)
        self.db = self.api.db
        with transaction(self.db):
            self.project = projects.add(self.db, "model", self.api.admin.id)
            secret = self.api.context.vault.encrypt(b"s")
            projects.add_repository(self.db, self.project.id, forge=forge.kind, url=forge.clone_url, secret=secret)
        credentials.set_token(self.api.context, self.repository, forge.token)

    @property
    def repository(self) -> Any:
        return projects.list_repositories(self.db, self.project.id)[0]

    def user(self, name: str, subject: str = "", issuer: str = "") -> User:
        """A user who has logged in with an account at the forge, or elsewhere."""
        made = identities.add_user(self.db, name, is_admin=False)
        if subject:
            with transaction(self.db):
                logins.add(self.db, issuer or self.forge.origin, subject, made.id, name)
        return made

    def person(self, number: int, login: str, level: str, **more: Any) -> None:
        """Add a person at the forge."""
        self.forge.people.append({"id": number, "login": login, "level": level, **more})

    def switch_on(self, most: Role = Role.WRITER) -> None:
        service.set_source(self.api.context, self.project, most)
        self.refresh()

    def refresh(self) -> None:
        service.refresh(self.api.context, self.project.id)

    def roles(self) -> dict[str, tuple[str, str]]:
        """Role and source of each member but the administrator."""
        found = members.list_members(self.db, self.project.id)
        return {one.username: (one.role.value, one.source) for one in found if one.username != "admin"}

    @property
    def source(self) -> member_sources.MemberSource:
        found = member_sources.find_member_source(self.db, self.project.id)
        assert found is not None
        return found

    def rest(self) -> None:
        """End the pause after the last call."""
        execute(self.db, "UPDATE member_source SET rest_until = ''")

    def sweep(self) -> None:
        sweeper = Sweeper(self.api.config, self.api.context.vault, self.api.app.extensions["pushmill"].queues)
        sweeper.sweep()
        sweeper.close()


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    with running(getattr(request, "param", "github")) as forge:
        made = Place(tmp_path / "data", forge)
        made.person(1, "owner-of-the-repository", "admin")
        yield made
        made.api.close()


# who gets which role


@EACH
def test_whoever_may_push_becomes_a_writer(place: Place) -> None:
    for number, level in ((7, "write"), (8, "read"), (9, "admin"), (10, "maintain")):
        place.person(number, f"login-{level}", level)
        place.user(f"can-{level}", str(number))
    place.switch_on()
    came = ("writer", place.forge.kind)
    assert place.roles() == {"can-write": came, "can-admin": came, "can-maintain": came}
    assert place.source.problem == ""
    assert place.source.answered_at


@EACH
@pytest.mark.parametrize(("most", "pushes", "administers"), [
    (Role.READER, "reader", "reader"), (Role.OWNER, "writer", "owner"),
])  # fmt: skip
def test_nobody_gets_more_than_the_project_allows(place: Place, most: Role, pushes: str, administers: str) -> None:
    for number, level in ((7, "write"), (9, "admin"), (10, "maintain")):
        place.person(number, level, level)
        place.user(f"can-{level}", str(number))
    place.switch_on(most)
    found = {name: role for name, (role, _) in place.roles().items()}
    assert found == {"can-write": pushes, "can-maintain": pushes, "can-admin": administers}


@EACH
def test_only_the_account_counts_neither_the_name_nor_another_issuer(place: Place) -> None:
    place.person(7, "grace", "admin")
    place.user("grace")  # no account
    place.user("ada", "7", "https://elsewhere.example.org")
    place.user("tim", "70")
    place.switch_on()
    assert place.roles() == {}


def test_an_issuer_is_found_however_its_host_is_written(place: Place) -> None:
    place.person(7, "grace", "write")
    place.user("grace", "7", place.forge.origin.replace("http", "HTTP"))
    place.switch_on()
    assert "grace" in place.roles()


@pytest.mark.parametrize("place", ["gitea"], indirect=True)
def test_a_name_that_somebody_else_took_over_gives_no_role(place: Place) -> None:
    """Gitea tells permissions by name: the answer is about number 7."""
    place.person(7, "grace", "admin")
    place.person(8, "grace", "read")
    place.user("eight", "8")
    place.switch_on()
    assert place.roles() == {}


@pytest.mark.parametrize("place", ["gitlab"], indirect=True)
def test_people_whom_gitlab_has_blocked_get_no_role(place: Place) -> None:
    place.person(7, "grace", "admin", state="blocked")
    place.user("grace", "7")
    place.switch_on()
    assert place.roles() == {}


def test_somebody_with_two_accounts_gets_the_higher_role(place: Place) -> None:
    place.person(7, "work", "admin")
    place.person(8, "private", "write")
    grace = place.user("grace", "7")
    with transaction(place.db):
        logins.add(place.db, place.forge.origin, "8", grace.id, "private")
    place.switch_on(Role.OWNER)
    assert place.roles() == {"grace": ("owner", "github")}


@EACH
def test_all_pages_are_read(place: Place) -> None:
    for number in range(100, 350):
        place.person(number, f"login-{number}", "write")
    place.user("last", "349")
    place.switch_on()
    assert "last" in place.roles()


# what changes it


@EACH
def test_whoever_loses_the_access_loses_the_role(place: Place) -> None:
    place.person(7, "grace", "write")
    place.user("grace", "7")
    place.switch_on()
    place.forge.people.pop()
    place.refresh()
    assert place.roles() == {}
    entries = [one for one in audit.search(place.db, AuditQuery(kind=Kind.MEMBER), 9) if one.name == "grace"]
    assert [(one.action, one.way, one.project) for one in entries] == [
        ("remove", Way.FORGE, "model"), ("change", Way.FORGE, "model"),
    ]  # fmt: skip
    assert entries[1].detail == f"writer, from {place.forge.kind}"


def test_roles_that_were_given_here_stay(place: Place) -> None:
    for number, name in ((7, "lowered"), (8, "outsider"), (9, "later")):
        place.person(number, name, "read" if name == "outsider" else "admin")
        place.user(name, str(number))
    identities.set_role(place.db, place.project, "lowered", Role.READER)
    identities.set_role(place.db, place.project, "outsider", Role.OWNER)
    place.switch_on()
    identities.set_role(place.db, place.project, "later", Role.READER)
    place.refresh()
    wanted = {"lowered": ("reader", ""), "outsider": ("owner", ""), "later": ("reader", "")}
    assert place.roles() == wanted
    place.forge.people[1:] = []
    place.refresh()
    service.set_source(place.api.context, place.project, None)
    assert place.roles() == wanted


def test_a_member_from_the_git_host_cannot_be_removed_here_but_comes_back_from_a_role_given_here(place: Place) -> None:
    place.person(7, "grace", "write")
    place.user("grace", "7")
    place.switch_on()
    with pytest.raises(Conflict, match="a member because of GitHub: remove the access there"):
        identities.set_role(place.db, place.project, "grace", None)
    identities.set_role(place.db, place.project, "grace", Role.READER)
    place.rest()
    identities.set_role(place.db, place.project, "grace", None)
    assert place.roles() == {}
    assert member_sources.list_due_projects(place.db) == [place.project.id]
    place.refresh()
    assert place.roles() == {"grace": ("writer", "github")}


def test_switching_it_off_takes_the_roles_that_it_gave(place: Place) -> None:
    place.person(7, "grace", "write")
    place.user("grace", "7")
    place.user("ada")
    identities.set_role(place.db, place.project, "ada", Role.READER)
    place.switch_on()
    service.set_source(place.api.context, place.project, None)
    assert place.roles() == {"ada": ("reader", "")}
    assert member_sources.list_due_projects(place.db) == []
    service.set_source(place.api.context, place.project, None)
    entries = audit.search(place.db, AuditQuery(kind=Kind.SETTINGS), 9)
    assert [(one.action, one.detail) for one in entries] == [("remove", ""), ("change", "writer at most")]


@pytest.mark.parametrize("change", ["off", "token"])
def test_an_answer_that_a_change_overtook_is_dropped(place: Place, change: str) -> None:
    place.person(7, "grace", "write")
    place.user("grace", "7")
    service.set_source(place.api.context, place.project, Role.WRITER)
    go_on = place.forge.hang(path="/collaborators")
    asking = threading.Thread(target=place.sweep)
    asking.start()
    wait_for(lambda: place.forge.calls, 30)
    if change == "off":
        service.set_source(place.api.context, place.project, None)
    else:
        credentials.set_token(place.api.context, place.repository, "another-token")
    go_on.set()
    asking.join(60)
    assert place.roles() == {}


# a forge that does not answer


@EACH
@pytest.mark.parametrize("fault", [
    {"status": 500}, {"status": 403, "json": {"message": "Must have push access"}}, {"status": 404},
    {"status": 200, "json": None}, {"status": 200, "json": {"message": "hello"}}, {"status": 200, "json": []},
    {"status": 301, "headers": {"Location": "https://elsewhere.example.org"}},
])  # fmt: skip
def test_a_forge_that_does_not_answer_changes_nothing(place: Place, fault: dict[str, Any]) -> None:
    place.person(7, "grace", "write")
    place.user("grace", "7")
    place.switch_on()
    answered = place.source.answered_at
    place.forge.people.pop()
    place.forge.fail(times=99, **fault)
    place.refresh()
    assert place.roles() == {"grace": ("writer", place.forge.kind)}
    assert place.source.problem
    assert place.forge.token not in place.source.problem
    assert place.source.answered_at == answered
    place.forge.mend()
    place.refresh()
    assert (place.roles(), place.source.problem) == ({}, "")


def test_too_many_people_change_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.person(7, "grace", "write")
    place.user("grace", "7")
    place.switch_on()
    monkeypatch.setattr(service, "PAGES", 1)
    place.refresh()
    assert "more than 2 people" in place.source.problem
    assert "grace" in place.roles()


def test_a_forge_that_wants_no_calls_is_left_alone(place: Place) -> None:
    place.forge.fail(429, headers={"Retry-After": "7200"})
    place.switch_on()
    place.user("grace", "7")
    (found,) = place.db.execute(
        "SELECT (julianday(due_at) - julianday('now')) * 86400, (julianday(rest_until) - julianday('now')) * 86400"
        " FROM member_source"
    ).fetchall()
    assert all(6000 < seconds <= 7201 for seconds in found)


def test_a_token_that_was_removed_changes_nothing(place: Place) -> None:
    place.person(7, "grace", "write")
    place.user("grace", "7")
    place.switch_on()
    credentials.set_token(place.api.context, place.repository, "")
    place.refresh()
    assert "grace" in place.roles()
    assert "an API token of GitHub is missing" in place.source.problem


# when it cannot be


def test_what_cannot_take_members_says_why(tmp_path: Path) -> None:
    with running("bitbucket") as forge:
        place = Place(tmp_path / "data", forge)
        with pytest.raises(InvalidInput, match="people of Bitbucket cannot be recognised"):
            place.switch_on()
        with pytest.raises(InvalidInput, match="project demo is pushed to this server"):
            service.set_source(place.api.context, place.api.demo, Role.WRITER)
        place.api.close()
    with running("gitea") as forge:
        place = Place(tmp_path / "other", forge, issuer="https://elsewhere.example.org")
        with pytest.raises(InvalidInput, match=f"nobody can log in with an account of {forge.origin}"):
            place.switch_on()
        credentials.set_token(place.api.context, place.repository, "")
        with pytest.raises(InvalidInput, match="an API token of Gitea is missing"):
            place.switch_on()
        assert member_sources.list_due_projects(place.db) == []
        place.api.close()


# when the forge is asked


def test_a_log_in_asks_soon_but_not_at_once_again(place: Place) -> None:
    place.switch_on()
    assert member_sources.list_due_projects(place.db) == []
    place.user("grace", "7")
    assert member_sources.list_due_projects(place.db) == []  # it was asked a moment ago
    place.rest()
    with transaction(place.db):
        logins.add(place.db, place.forge.origin, "7", 1, "grace")
    assert member_sources.list_due_projects(place.db) == [place.project.id]
    place.refresh()
    assert member_sources.list_due_projects(place.db) == []
    place.rest()
    logins.remove(place.db, 2, place.forge.origin, "7")
    assert member_sources.list_due_projects(place.db) == [place.project.id]


def test_a_forge_is_asked_again_after_a_clock_that_was_ahead(place: Place) -> None:
    service.set_source(place.api.context, place.project, Role.WRITER)
    place.sweep()
    assert member_sources.list_due_projects(place.db) == []
    execute(place.db, "UPDATE member_source SET due_at = '2999-01-01T00:00:00.000000Z'")
    assert member_sources.list_due_projects(place.db) == [place.project.id]


def test_from_a_log_in_with_github_to_the_project_and_out_again(place: Place) -> None:
    place.person(7, "grace", "write")
    service.set_source(place.api.context, place.project, Role.WRITER)
    place.sweep()
    place.rest()
    place.forge.browser = {"id": 7, "login": "grace"}
    grace = Person(place.api)
    consent = grace.get("/login/forge").location
    back = urlsplit(httpx.get(consent).headers["Location"])
    assert grace.get(f"{back.path}?{back.query}").status_code == 303
    assert grace.get("/p/model/").status_code == 404
    place.sweep()
    assert grace.get("/p/model/").status_code == 200
    place.forge.people.pop()
    execute(place.db, "UPDATE member_source SET due_at = ''")
    place.sweep()
    assert grace.get("/p/model/").status_code == 404


# pages and commands


def test_the_page_switches_it_on_and_says_where_members_come_from(place: Place) -> None:
    where = ("/p/model/settings/members/forge", "/p/model/settings/members/")
    place.person(7, "grace", "write")
    place.user("grace", "7")
    admin = Person(place.api)
    admin.log_in()
    assert "Members from GitHub" in admin.get(where[1]).text
    assert admin.post(*where, role="king").status_code == 400
    assert admin.post(*where, role="writer").status_code == 303
    place.refresh()
    shown = admin.get(where[1]).text
    assert '<span class="tag">from GitHub</span>' in shown
    assert "Updated just now" in TAG.sub("", shown)
    place.forge.fail(500, times=9)
    place.refresh()
    shown = TAG.sub("", admin.get(where[1]).text)
    assert "Last updated just now" in shown
    assert "Existing roles are kept" in shown
    admin.post(*where, role="none")
    assert place.roles() == {}
    assert "from GitHub</span>" not in admin.get(where[1]).text


def test_the_page_of_a_server_without_other_logins_has_nothing_of_it(api: ApiServer) -> None:
    admin = Person(api)
    admin.log_in()
    assert "Members from" not in admin.get("/p/demo/settings/members/").text


def test_members_are_managed_by_the_command_line(place: Place) -> None:
    config = place.folder.parent / "config.toml"
    login = place.api.config.login["forge"]
    config.write_text(
        f'[login.forge]\nkind = "github"\nissuer = "{login.issuer}"\nclient_id = "a"\nclient_secret = "b"\n'
    )

    def run(*words: str, code: int = 0) -> str:
        done = command_line.pushmill(place.folder, "project", "members", *words, "--config", str(config))
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    place.user("grace")
    place.user("ada", "7")
    place.person(7, "ada", "write")
    assert "User grace is now reader of project model" in run("add", "model", "grace", "reader")
    assert "is already a member of model" in run("add", "model", "grace", "writer", code=1)
    run("set-role", "model", "grace", "writer")
    assert "ada is not a member of model" in run("set-role", "model", "ada", "writer", code=1)
    assert "takes members from its forge" in run("from-forge", "model", "writer")
    place.refresh()
    lines = [line.split() for line in run("list", "model").splitlines()]
    assert lines == [["ada", "writer", "from", "GitHub"], ["admin", "owner"], ["grace", "writer"]]
    found = {one["username"]: one for one in json.loads(run("list", "model", "--json"))}
    assert (found["ada"]["source"], found["grace"]["role"]) == ("github", "writer")
    place.forge.fail(500, times=9)
    place.refresh()
    assert "last updated just now" in run("list", "model")
    assert "remove the access there" in run("remove", "model", "ada", code=1)
    assert "no longer a member" in run("remove", "model", "grace")
    assert "grace is not a member" in run("remove", "model", "grace", code=1)
    assert "there is no user" in run("remove", "model", "nobody", code=1)
    run("from-forge", "model", "off")
    assert place.roles() == {}
    run("remove", "model", "admin")
    assert "Project model has no members" in run("list", "model")
