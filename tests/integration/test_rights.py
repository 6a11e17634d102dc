"""Every route follows the table of rights: requests with every role and every scope, on a server with real data."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from api_server import ApiServer
from test_runner_rights import CONTENT, OID, basic, method_of, token
from werkzeug.routing import IntegerConverter, Rule
from werkzeug.test import TestResponse

from core import rights
from core.git import lfs
from core.identity import Scope
from core.rights import Action, Role
from web.http import auth
from web.services import identities
from web.services.repositories import hosting
from web.store import data, deliveries, members, projects
from web.store.deliveries import DeliveryState, Received

HIDDEN = "quietly"  # the project's name, which nothing else contains
DOCS = Path(__file__).parents[2] / "docs" / "people.md"
GIT = {"git": Action.READ, "git_push": Action.PUSH, "git_either": Action.PUSH}
DESTROYS = re.compile(r"^DELETE |/(delete|remove|purge|disable|reset)\b")


@dataclass
class Walk:
    """A server with a project in which there is one of everything, and somebody of each kind."""

    api: ApiServer
    secrets: dict[str, str] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        api = self.api
        project, _ = hosting.add_project(api.context, HIDDEN, api.admin.id)
        commit = api.add_commit(project, "5" * 40)
        datum = api.stored(commit=commit)
        execution = data.get_by_uuid(api.db, datum).execution_id
        (found,) = api.db.execute("SELECT uuid, counter FROM execution WHERE id = ?", (execution,)).fetchall()
        task = api.add_task(project=project, commit_id=commit.id)
        pipeline = api.add_pipeline(("a", "execution"), project_id=project.id, commit_id=commit.id)
        repository = hosting.get_repository(api.db, project)
        hosting.prepare(api.context, project, repository)
        lfs.store_object(hosting.get_lfs_path(api.config, repository), OID, len(CONTENT), [CONTENT])
        delivery, _ = deliveries.store(api.db, Received(repository.id, "plain", "push", body=b"{}"), "1")
        deliveries.finish(api.db, delivery, DeliveryState.DONE, "")  # no worker runs: requests would wait for it
        self.values = {
            "name": HIDDEN, "project": HIDDEN, "datum": datum, "filename": "model.bin", "number": delivery, "oid": OID,
            "position": 1, "slug": "none", "kind": "csv", "executions": found[0], "tasks": task.uuid, "pipelines": pipeline.uuid,
            "data": datum, "repositories": repository.id,
            "commits": commit.identifier, "projects": HIDDEN, "environments": "default",
            "/executions/": found[1], "/tasks/": task.counter, "/pipelines/": pipeline.counter,
        }  # fmt: skip
        self._people(project.id)

    def _people(self, project_id: int) -> None:
        for role in (None, *Role):
            name = role.value if role else "no role"
            user = identities.add_user(self.api.db, name.replace(" ", "-"), is_admin=False)
            if role:
                members.set_role(self.api.db, project_id, user.id, role)
            self.secrets[name] = identities.create_token(self.api.db, user.username, [Scope.ADMIN]).secret
        self.secrets["server admin"] = self.api.token
        for scope in Scope:
            made = identities.create_token(self.api.db, "admin", [scope])
            self.secrets[f"token {scope.value}"] = made.secret

    def routes(self) -> Iterator[tuple[Rule, str, Action]]:
        """Every route for users, with the path to what there is, and its action."""
        for rule in sorted(self.api.app.url_map.iter_rules(), key=lambda rule: rule.rule):
            permission = auth.find_permission(self.api.app, rule.endpoint)
            if isinstance(permission, Action):
                yield rule, self.path(rule), permission
            elif permission in GIT:
                writes = "receive-pack" in rule.rule
                yield rule, self.path(rule), Action.PUSH if writes else GIT[permission]

    def path(self, rule: Rule, **other: Any) -> str:
        values = self.values | other
        numbers = {name for name, kind in rule._converters.items() if isinstance(kind, IntegerConverter)}
        named = {name: values.get(name, 999 if name in numbers else "none") for name in rule.arguments}
        if "identifier" in named:
            nouns = rule.rule.partition("/<identifier>")[0].split("/")
            named["identifier"] = values.get(nouns[-1], "none")
        if "counter" in named:
            named["counter"] = next((values[key] for key in values if key.startswith("/") and key in rule.rule), 1)
        return self.api.app.url_map.bind("localhost").build(rule.endpoint, named, method=method_of(rule))

    def ask(self, who: str, rule: Rule, path: str) -> TestResponse:
        secret = self.secrets[who]
        headers = {"Authorization": basic(secret) if path.startswith("/git/") else token(secret)}
        body: Mapping[str, Any] = {}
        if "/lfs/" in path:
            objects = [{"oid": OID, "size": len(CONTENT)}]
            body = {"json": {"operation": "upload", "objects": objects}} if "batch" in path else {"data": CONTENT}
        elif path.startswith("/api/") and method_of(rule) != "GET":
            named = {"project": HIDDEN, "commit": "5" * 40, "step": "Train model", "name": "x", "value": "y"}
            body = {"json": named}
        query = {"service": "git-upload-pack"} if path.endswith("info/refs") else None
        with self.api.app.test_client() as client:
            answer = client.open(path, method=method_of(rule), headers=headers, query_string=query, **body)
        answer.get_data()
        answer.close()
        return answer


@pytest.fixture
def walk(api: ApiServer) -> Walk:
    return Walk(api)


def is_inside(rule: Rule, action: Action) -> bool:
    """Whether a request of the walk is about the project."""
    if rule.rule.startswith("/api/"):
        return (bool(rule.arguments) or action is Action.LAUNCH) and "/environments/" not in rule.rule
    return rule.rule.startswith(("/p/", "/git/"))


def expected(who: str, action: Action, *, inside: bool) -> str:
    """What the table says: "✓", "403", or "404" for a project that is invisible."""
    kind, _, scope = who.partition(" ")
    scopes = {Scope(scope)} if kind == "token" else {Scope.ADMIN}
    role = Role(who) if who in set(Role) else None
    allowed = rights.list_rights(role, is_admin=kind in ("token", "server"))
    if inside and Action.READ not in allowed:
        return "404"
    if not inside and action not in rights.OUTSIDE:
        allowed |= {action}  # every user, who gets what there is of visible projects
    return "✓" if action in allowed and rights.is_in_scope(scopes, action) else "403"


def test_every_route_asks_the_table_of_rights(walk: Walk) -> None:
    lines, seen, wrong = [" " * 90 + "  ".join(walk.secrets)], set[Action](), []
    for rule, path, action in walk.routes():
        strangers, row = walk.ask("no role", rule, path).text, []
        for who in walk.secrets:
            wanted = expected(who, action, inside=is_inside(rule, action))
            if wanted == "✓" and DESTROYS.search(f"{method_of(rule)} {path}"):
                continue  # it would do it; each has tests of its own
            answer = walk.ask(who, rule, path)
            hidden = answer.status_code == 404 and answer.text == strangers
            found = str(answer.status_code) if hidden or answer.status_code in (401, 403) else "✓"
            row.append(found)
            if found != wanted:
                wrong.append(f"{method_of(rule)} {path} ({action}) as {who}: {found} instead of {wanted}")
        seen.add(action)
        lines.append(f"{method_of(rule):<6} {rule.rule:<80} {action:<11} {'  '.join(row)}")
    print("\n".join(lines))
    assert not wrong, "\n".join(wrong)
    assert seen == set(Action)


def test_an_invisible_project_answers_like_one_that_does_not_exist(walk: Walk) -> None:
    walked = 0
    nobody = {"name": "unknown", "projects": "unknown", "project": "unknown", "commits": "6" * 40}
    nobody |= {noun: str(uuid.uuid4()) for noun in ("executions", "tasks", "pipelines", "data")}
    for rule, path, action in walk.routes():
        if action is Action.PUSH or not rule.arguments or not is_inside(rule, action):
            continue  # the push to an unknown name creates a project
        unknown = walk.path(rule, **nobody)
        answers = []
        for asked, names in ((path, walk.values), (unknown, nobody)):
            answer = walk.ask("no role", rule, asked)
            text = answer.text.replace(asked, "PATH")
            for noun in nobody:
                text = text.replace(str(names[noun]), "IT")
            answers.append((answer.status_code, text, [key for key, _ in answer.headers]))
        assert answers[0] == answers[1], path
        assert answers[0][0] == 404, path
        walked += 1
    assert walked > 50


@pytest.mark.parametrize("scope", [Scope.READ, Scope.PUSH, Scope.LAUNCH])
@pytest.mark.parametrize("operation", ["download", "upload"])
def test_git_lfs_does_not_reveal_a_project_to_a_token_without_a_role(walk: Walk, scope: Scope, operation: str) -> None:
    headers = {"Authorization": basic(identities.create_token(walk.api.db, "no-role", [scope]).secret)}
    body = {"operation": operation, "objects": [{"oid": OID, "size": len(CONTENT)}]}
    answers = {}
    for name in (HIDDEN, "unknown"):
        answer = walk.api.client.post(f"/git/{name}.git/info/lfs/objects/batch", json=body, headers=headers)
        answers[name] = (answer.status_code, answer.text.replace(name, "IT"))
    assert answers[HIDDEN][0] == 404
    if operation == "download" or scope is Scope.READ:  # the others create the unknown one by it
        assert answers["unknown"] == answers[HIDDEN]


def test_the_uuid_of_an_invisible_project_does_not_reveal_its_name(walk: Walk) -> None:
    found = projects.get_by_name(walk.api.db, HIDDEN).uuid
    headers = {"Authorization": basic(walk.secrets["no role"])}
    answers = []
    for asked in (found, str(uuid.uuid4())):
        answer = walk.api.client.get(f"/git/{asked}.git/info/refs?service=git-upload-pack", headers=headers)
        answers.append((answer.status_code, answer.text.replace(asked, "IT")))
    assert answers[0] == answers[1]


def test_lists_show_only_visible_projects(walk: Walk) -> None:
    secret = [HIDDEN, *(str(walk.values[noun]) for noun in ("executions", "tasks", "pipelines", "data", "commits"))]
    walked = 0
    for rule, path, _ in walk.routes():
        if rule.arguments or method_of(rule) != "GET":
            continue
        shown = walk.ask("no role", rule, path).text
        assert not [word for word in secret if word in shown], path
        walked += any(word in walk.ask("reader", rule, path).text for word in secret)
    assert walked >= 6


def test_the_documentation_has_the_table_of_rights() -> None:
    assert rights.format_table() in DOCS.read_text(), f"docs/people.md must contain:\n{rights.format_table()}"
