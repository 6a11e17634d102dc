"""The audit trail: every change by a person leaves an entry with who, what, when and from where, and no secret."""

from __future__ import annotations

import io
import json
from typing import Any

import command_line
import pytest
from api_server import ApiServer
from site_client import Person
from test_runner_rights import method_of

from core import clock
from core.errors import NotFound
from core.identity import Scope
from core.rights import Role
from web.http import auth
from web.services import identities
from web.services.repositories import hosting
from web.store import audit, deliveries, members, projects, users
from web.store.audit import Act, Actor, AuditEntry, AuditQuery, Kind, Way
from web.store.db import execute, transaction
from web.store.deliveries import Received

SECRET = "correct horse battery staple"
# Changing methods that change nothing, or only what does not belong into the trail, each with the reason.
EXEMPT = {
    "appearance.choose": "the theme is a cookie",
    "rules.try_rules": "a dry run changes nothing",
    "connect.check": "changes nothing",
    "connect.make_webhook": "creates it on the Git host",
    "githttp.upload_pack": "a fetch",
    "githttp.receive_pack": "what a push launches is recorded when it is ingested",
    "lfs.batch": "announces uploads",
    "lfs.upload": "part of a push",
    "receive.receive": "a delivery has a page of its own; what it launches is recorded",
    "v0.POST projects/<identifier>/fetch": "changes nothing",
    "session.log_in": "tested by itself",
    "v0.POST get-token": "refuses",
    "v0.POST executions": "refuses",
    "v0.POST pipelines": "refuses",
    "v0.POST tasks": "refuses",
}


def stored_delivery(api: ApiServer) -> int:
    (repository,) = projects.list_repositories(api.db, api.demo.id)
    with transaction(api.db):
        number, _ = deliveries.store(api.db, Received(repository.id, "github", "push", body=b"{}"), "1")
    return number


# Tested where what they need exists.
ELSEWHERE = {
    "commits.approve": "test_approval_pages",
    "chosen.rerun": "test_run_form_pages",
    "chosen.delete": "test_compare_pages",
    "chosen.stop": "test_compare_pages",
    "chosen.tag": "test_compare_pages",
    "saved_views.remove": "test_saved_views",
    "saved_views.save": "test_saved_views",
    "pipelines.approve": "test_pipeline_pages",
    "run.submit": "test_run_form_pages",
    "runners.register": "test_runner_pages",
    "runners.rotate": "test_runner_pages",
    "account.end_session": "like session.log_out",
    "invitations.accept": "like account.change_password",
    "logins.remove": "test_logins",
    "members.take_from_forge": "test_members_from_forge",
    "v0.POST projects/<identifier>/import-package": "test_adhoc",
}
# Pages about people: the entry, and others of what it entails.
PEOPLE: dict[str, tuple[str, dict[str, Any], tuple[Act, Kind]]] = {
    "account.change_password": ("/auth/password", {"password": SECRET}, (Act.CHANGE, Kind.USER)),
    "account.create": ("/auth/tokens/", {"token_name": "ci", "scope": "read"}, (Act.CREATE, Kind.TOKEN)),
    "account.end_other_sessions": ("/auth/sessions/end", {}, (Act.LOGOUT, Kind.USER)),
    "account.revoke": ("/auth/tokens/{token}/revoke", {}, (Act.REMOVE, Kind.TOKEN)),
    "members.change": (
        "/p/demo/settings/members", {"username": "grace", "role": "writer"}, (Act.CHANGE, Kind.MEMBER),
    ),
    "users.add": ("/users/", {"username": "ada"}, (Act.CREATE, Kind.USER)),
    "users.disable": ("/users/grace/disable", {}, (Act.CHANGE, Kind.USER)),
    "users.enable": ("/users/grace/enable", {}, (Act.CHANGE, Kind.USER)),
    "users.reset": ("/users/grace/reset", {}, (Act.CREATE, Kind.INVITATION)),
    "users.set_admin": ("/users/grace/admin", {"admin": "1"}, (Act.CHANGE, Kind.USER)),
}  # fmt: skip
# endpoint → how to call it: path, form or JSON, and the entry
CHANGES: dict[str, tuple[str, dict[str, Any], tuple[Act, Kind]]] = {
    "connect.add": ("/connect/", {"url": "https://github.com/ada/made.git"}, (Act.CREATE, Kind.PROJECT)),
    "connect.change": ("/p/fetched/connect/", {"url": "https://github.com/ada/x.git"}, (Act.CHANGE, Kind.SETTINGS)),
    "connect.store_token": ("/p/fetched/connect/access", {"token": "5ca1ab1e"}, (Act.CHANGE, Kind.CREDENTIALS)),
    "connect.new_secret": ("/p/fetched/connect/webhook/secret", {}, (Act.CHANGE, Kind.CREDENTIALS)),
    "badge_picker.change": ("/p/demo/settings/badge", {}, (Act.CHANGE, Kind.SETTINGS)),
    "deliveries.process_again": ("/p/demo/deliveries/1/again", {}, (Act.LAUNCH, Kind.DELIVERY)),
    "environments.change": ("/environments/", {"slug": "other", "cpus": "2"}, (Act.CHANGE, Kind.ENVIRONMENT)),
    "environments.remove": ("/environments/other/remove", {}, (Act.REMOVE, Kind.ENVIRONMENT)),
    "execution.rerun": ("/p/demo/executions/2/again", {}, (Act.LAUNCH, Kind.EXECUTION)),
    "execution.prioritise": ("/p/demo/executions/1/priority", {"priority": "1"}, (Act.CHANGE, Kind.EXECUTION)),
    "execution.stop": ("/p/demo/executions/1/stop", {}, (Act.STOP, Kind.EXECUTION)),
    "pipelines.stop": ("/p/demo/pipelines/1/stop", {}, (Act.STOP, Kind.PIPELINE)),
    "tasks.stop": ("/p/demo/tasks/1/stop", {}, (Act.STOP, Kind.TASK)),
    "notifications.retry": ("/p/demo/settings/notifications/retry", {}, (Act.CHANGE, Kind.SETTINGS)),
    "notifications.change_comments": ("/p/demo/settings/notifications/comments", {"comments": "1"}, (Act.CHANGE, Kind.SETTINGS)),
    "rules.change": ("/p/demo/settings/rules", {"rules": "# none"}, (Act.CHANGE, Kind.RULES)),
    "runners.drain": ("/runners/one/drain", {}, (Act.CHANGE, Kind.RUNNER)),
    "runners.limit": ("/runners/one/limits", {"slots": "3"}, (Act.CHANGE, Kind.RUNNER)),
    "runners.remove": ("/runners/two/remove", {"force": "1"}, (Act.REMOVE, Kind.RUNNER)),
    "runners.resume": ("/runners/one/resume", {}, (Act.CHANGE, Kind.RUNNER)),
    "settings.delete": ("/p/gone/settings/delete", {"confirm": "gone"}, (Act.REMOVE, Kind.PROJECT)),
    "session.log_out": ("/logout", {}, (Act.LOGOUT, Kind.USER)),
    "settings.allow_environments": (
        "/p/demo/settings/environments", {"environments": "default"}, (Act.CHANGE, Kind.SETTINGS),
    ),
    "settings.change_runs": (
        "/p/demo/settings/runs", {"environment": "default", "max_executions": "3"}, (Act.CHANGE, Kind.SETTINGS),
    ),
    "settings.remove_variable": ("/p/demo/settings/variables/remove", {"variable": "A"}, (Act.REMOVE, Kind.VARIABLE)),
    "settings.set_variable": (
        "/p/demo/settings/variables", {"variable": "A", "value": SECRET, "secret": "1"}, (Act.CHANGE, Kind.SECRET),
    ),
    "v0.POST projects/<identifier>/environment_variable": (
        "/api/v0/projects/demo/environment_variable/", {"name": "A", "value": SECRET, "secret": True},
        (Act.CHANGE, Kind.SECRET),
    ),
    "v0.DELETE projects/<identifier>/environment_variable": (
        "/api/v0/projects/demo/environment_variable/", {"name": "A"}, (Act.REMOVE, Kind.VARIABLE),
    ),
    "v0.POST data": ("/api/v0/data/", {"project": "demo", "data": (io.BytesIO(b"x"), "x.txt")}, (Act.CREATE, Kind.OUTPUT)),
    "v0.POST data/<identifier>/purge": ("/api/v0/data/{datum}/purge/", {}, (Act.REMOVE, Kind.OUTPUT)),
    "v0.POST datum-aliases": (
        "/api/v0/datum-aliases/", {"project": "demo", "name": "best", "datum": "{datum}"}, (Act.CHANGE, Kind.ALIAS),
    ),
    "v0.DELETE executions/<identifier>": ("/api/v0/executions/{ended}/", {}, (Act.REMOVE, Kind.EXECUTION)),
    "v0.POST executions/<identifier>/tags": (
        "/api/v0/executions/{ended}/tags/", {"tags": ["x"]}, (Act.CHANGE, Kind.EXECUTION),
    ),
    "v0.POST projects": ("/api/v0/projects/", {"name": "made"}, (Act.CREATE, Kind.PROJECT)),
    "v0.DELETE projects/<identifier>": ("/api/v0/projects/gone/", {}, (Act.REMOVE, Kind.PROJECT)),
    "v0.POST executions/<identifier>/stop": ("/api/v0/executions/{execution}/stop/", {}, (Act.STOP, Kind.EXECUTION)),
    "v0.POST pipelines/<identifier>/stop": ("/api/v0/pipelines/{pipeline}/stop/", {}, (Act.STOP, Kind.PIPELINE)),
    "v0.POST pipelines/<identifier>//stop": ("/api/v0/pipelines/{pipeline}//stop/", {}, (Act.STOP, Kind.PIPELINE)),
    "v0.POST tasks/<identifier>/stop": ("/api/v0/tasks/{task}/stop/", {}, (Act.STOP, Kind.TASK)),
}  # fmt: skip


def entries(api: ApiServer, **question: Any) -> list[AuditEntry]:
    return audit.search(api.db, AuditQuery(**question), 1000)


def test_every_changing_route_is_in_the_test_below_or_exempt(api: ApiServer) -> None:
    changing = set()
    for rule in api.app.url_map.iter_rules():
        permission = auth.find_permission(api.app, rule.endpoint)
        if method_of(rule) not in auth.SAFE_METHODS and permission != "runner":
            changing.add(rule.endpoint)
    assert changing == set(EXEMPT) | set(CHANGES) | set(ELSEWHERE) | set(PEOPLE)


@pytest.mark.parametrize("endpoint", CHANGES)
def test_a_change_leaves_an_entry(api: ApiServer, endpoint: str) -> None:
    path, form, (act, kind) = CHANGES[endpoint]
    execution, _ = api.placed()
    ended, datum = api.finished(), api.stored()
    api.project("gone")
    hosting.add_project(api.context, "fetched", api.admin.id, forge="github", url="https://github.com/ada/y.git")
    task, pipeline = api.add_task(), api.add_pipeline(("a", "execution"))
    values = {"execution": execution, "ended": ended, "datum": datum, "task": task.uuid, "pipeline": pipeline.uuid}
    path = path.format(**values)
    form = {name: value.format(**values) if isinstance(value, str) else value for name, value in form.items()}
    stored_delivery(api)
    execute(api.db, "UPDATE repository SET api_token = x'00'")
    person = Person(api)
    person.log_in()
    if "remove" in endpoint or "DELETE" in endpoint:
        person.post("/environments/", "/runners/", slug="other")
        person.post("/p/demo/settings/variables", "/runners/", variable="A", value="1")
    before = len(entries(api))
    if path.startswith("/api/"):
        method = endpoint.removeprefix("v0.").partition(" ")[0]
        body = {"data": form} if "data" in form else {"json": form}
        answer = api.client.open(path, method=method, headers=api.as_admin, **body)
    else:
        answer = person.post(path, "/runners/", **form)
    assert answer.status_code in (200, 201, 204, 303), answer.text
    added = entries(api)[: len(entries(api)) - before]
    if kind is Kind.PROJECT and act is Act.CREATE:
        assert added.pop().kind == Kind.MEMBER  # who creates it owns it
    assert [(entry.action, entry.kind) for entry in added] == [(act, kind)]
    (entry,) = added
    way = Way.API if path.startswith("/api/") else Way.PAGE
    assert (entry.username, entry.way, entry.address, entry.token) == ("admin", way, "127.0.0.1", "first start")
    projects_ = {
        "/p/demo": "demo",
        "/p/gone": "gone",
        "/p/fetched": "fetched",
        "/connect/": "made",
        "/api/v0": "gone" if "gone" in path else "made" if form == {"name": "made"} else "demo",
    }
    assert entry.project == projects_.get("/".join(path.split("/")[:3]), "")
    assert clock.count_seconds_between(entry.at, clock.now()) < 60
    assert SECRET not in json.dumps([str(found) for found in entries(api)])


@pytest.mark.parametrize("endpoint", PEOPLE)
def test_a_change_of_people_leaves_an_entry_without_secrets(api: ApiServer, endpoint: str) -> None:
    path, form, wanted = PEOPLE[endpoint]
    identities.add_user(api.db, "grace", is_admin=False)
    made = identities.create_token(api.db, "admin", [Scope.READ])
    Person(api).log_in()
    person = Person(api)
    person.log_in()
    before = len(entries(api))
    assert person.post(path.format(token=made.id), "/runners/", **form).status_code in (200, 303)
    added = entries(api)[: len(entries(api)) - before]
    assert wanted in [(entry.action, entry.kind) for entry in added]
    assert {entry.username for entry in added} == {"admin"}
    assert Act.REQUEST not in {entry.action for entry in added}
    assert SECRET not in str(entries(api))


def test_logins_and_failed_ones_are_recorded_without_what_was_typed(api: ApiServer) -> None:
    person = Person(api)
    person.log_in("admin", SECRET)
    person.log_in(SECRET, api.token)  # the fields swapped
    person.log_in()
    found = [(entry.action, entry.name, entry.username, entry.address) for entry in entries(api)[:3]]
    assert found == [
        (Act.LOGIN, "admin", "admin", "127.0.0.1"),
        (Act.FAILED_LOGIN, "", "", "127.0.0.1"),
        (Act.FAILED_LOGIN, "admin", "", "127.0.0.1"),
    ]
    assert SECRET not in str(entries(api))


def test_failed_logins_are_bounded_by_themselves(api: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "FAILED_LOGINS_PER_MINUTE", 3)
    monkeypatch.setattr(audit, "FAILED_LOGINS", 2)
    others = len(entries(api))
    for _ in range(5):
        audit.record_failed_login(api.db, "admin")
    assert len(entries(api, action=Act.FAILED_LOGIN)) == 3
    audit.prune(api.db, 0, others)
    assert len(entries(api, action=Act.FAILED_LOGIN)) == 2
    assert len(entries(api)) == others + 2


def test_changes_of_users_tokens_and_members_are_recorded_from_wherever_they_come(api: ApiServer) -> None:
    before = len(entries(api))
    grace = identities.add_user(api.db, "grace", is_admin=False)
    made = identities.create_token(api.db, "grace", [Scope.READ], name="laptop")
    members.set_role(api.db, api.demo.id, grace.id, Role.WRITER)
    members.set_role(api.db, api.demo.id, grace.id, Role.WRITER)
    members.remove(api.db, api.demo.id, grace.id)
    users.revoke_token(api.db, made.id)
    identities.disable(api.db, "grace")
    found = [
        (entry.action, entry.kind, entry.name, entry.detail) for entry in reversed(entries(api)[: -before or None])
    ]
    assert found == [
        (Act.CREATE, Kind.USER, "grace", ""),
        (Act.CREATE, Kind.TOKEN, str(made.id), "of grace, laptop, read"),
        (Act.CHANGE, Kind.MEMBER, "grace", "writer"),
        (Act.REMOVE, Kind.MEMBER, "grace", ""),
        (Act.REMOVE, Kind.TOKEN, str(made.id), "of grace, laptop"),
        (Act.CHANGE, Kind.USER, "grace", "disabled"),
    ]
    assert made.secret not in str(entries(api))


def test_an_entry_is_undone_with_its_change(api: ApiServer) -> None:
    before = entries(api)
    with pytest.raises(RuntimeError), transaction(api.db):
        projects.set_rules(api.db, api.demo.id, "# other")
        raise RuntimeError
    assert entries(api) == before


def test_a_view_that_records_nothing_leaves_a_general_entry(api: ApiServer) -> None:
    def change(name: str) -> str:
        execute(auth.get_db(), "UPDATE project SET description = 'x'")
        return ""

    api.app.view_functions["badge_picker.change"] = auth.own(change)
    assert api.client.post("/p/demo/settings/badge", headers=api.as_admin).status_code == 200
    entry = entries(api)[0]
    assert (entry.action, entry.name, entry.detail) == (Act.REQUEST, "badge_picker.change", "project demo")


def test_old_entries_and_the_oldest_of_too_many_are_pruned(api: ApiServer) -> None:
    with audit.acting(Actor(way=Way.COMMAND, username="ada")):
        for number in range(5):
            audit.record(api.db, Act.CHANGE, Kind.SETTINGS, number, api.demo.id)
    audit.prune(api.db, 0, 3)
    assert [entry.name for entry in entries(api)] == ["4", "3", "2"]
    execute(api.db, "UPDATE audit SET at = ? WHERE name = '2'", (clock.add_to_now(-7200),))
    audit.prune(api.db, 3600, 0)
    assert [entry.name for entry in entries(api)] == ["4", "3"]
    person = Person(api)
    person.log_in()
    shown = person.get("/audit/").text
    assert f"Entries before {clock.now()[:10]} have been deleted." in shown
    assert "Entries are kept for 365 d, at most 1,000,000." in shown


def numbered(api: ApiServer, count: int) -> None:
    try:
        other = projects.get_by_name(api.db, "other")
    except NotFound:
        other = api.project("other")
    with transaction(api.db), audit.acting(Actor(way=Way.API, username="ada", address="192.0.2.7")):
        for number in range(count):
            audit.record(api.db, Act.CHANGE, Kind.SETTINGS, f"<b>{number}</b>", (api.demo, other)[number % 2].id)


def test_the_page_filters_and_goes_back_by_a_cursor(api: ApiServer) -> None:
    numbered(api, 250)
    person = Person(api)
    person.log_in()
    first = person.get("/audit/?username=ada").text
    assert first.count("192.0.2.7") == 100
    assert "&lt;b&gt;249&lt;/b&gt;" in first
    cursor = first.split("before=")[1].split('"')[0]
    numbered(api, 2)  # new entries do not move the next page
    second = person.get(f"/audit/?username=ada&before={cursor}").text
    assert "&lt;b&gt;149&lt;/b&gt;" in second
    assert "&lt;b&gt;150&lt;/b&gt;" not in second
    assert "192.0.2.7" not in person.get("/audit/?username=ada&action=launch").text
    assert "192.0.2.7" not in person.get("/audit/?username=ada&until=2020-01-01").text
    assert person.get(f"/audit/?username=ada&until={clock.now()[:10]}").text.count("192.0.2.7") == 100
    assert person.get(f"/audit/?username=ada&since={clock.now()[:10]}").text.count("192.0.2.7") == 100
    lines = person.get("/audit/entries.jsonl?username=ada&project=other").text.splitlines()
    assert [json.loads(line)["project"] for line in lines] == ["other"] * 126
    assert {"id", "at", "action", "kind", "name", "username", "token", "way", "address"} <= json.loads(lines[0]).keys()


def test_a_projects_page_shows_neither_others_nor_an_earlier_project_of_its_name(api: ApiServer) -> None:
    numbered(api, 4)
    execute(api.db, "UPDATE audit SET project_uuid = 'of an earlier one' WHERE name = '<b>0</b>'")
    person = Person(api)
    person.log_in()
    lines = person.get("/p/demo/audit/entries.jsonl?username=ada&project=other").text.splitlines()
    assert [json.loads(line)["name"] for line in lines] == ["<b>2</b>"]
    assert person.get("/p/demo/audit/").text.count("192.0.2.7") == 1


def test_the_command_prints_what_the_page_shows(api: ApiServer) -> None:
    numbered(api, 3)
    asked = ("audit", "--user", "ada", "--project", "demo")
    lines = command_line.pushmill(api.config.data, *asked, "--json").stdout.splitlines()
    assert [json.loads(line)["name"] for line in lines] == ["<b>0</b>", "<b>2</b>"]
    assert "ada" in command_line.pushmill(api.config.data, *asked).stdout
    command_line.pushmill(api.config.data, "user", "add", "grace")
    entry = entries(api)[0]
    assert (entry.action, entry.name, entry.way) == (Act.CREATE, "grace", Way.COMMAND)
    assert entry.username
