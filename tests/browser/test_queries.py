"""Each page makes a bounded number of database queries, however much data it shows."""

from __future__ import annotations

import re
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from demo import Demo
from demo_site import Site
from flask import Flask, url_for

from core.rights import Role
from web.http import auth
from web.http.app import create_app
from web.store import deliveries, members, projects, runners, sessions, users
from web.store.db import connect, fetch_row, fetch_rows, insert, transaction
from web.store.deliveries import Received

MANY = 40  # of everything that pages list: a query for each of them exceeds every ceiling
CSRF = re.compile(r'name="csrf_token" value="([^"]+)"')
QUERY = re.compile(r"\s*(SELECT|WITH)\b")
CEILINGS = {
    "account.show": 7,
    "activity.listing": 18,
    "api_reference.show": 3,
    "audit.project": 8,
    "audit.project_entries": 6,
    "audit.server": 8,
    "audit.server_entries": 6,
    "badge_picker.show": 12,
    "commits.listing": 22,
    "commits.show": 40,
    "compare.series": 10,
    "compare.show": 30,
    "connect.access": 5,
    "connect.checks": 5,
    "connect.new": 3,
    "connect.repository": 5,
    "connect.webhook": 6,
    "deliveries.body": 8,
    "deliveries.listing": 4,
    "deliveries.show": 15,
    "documentation.first": 3,
    "documentation.show": 3,
    "environments.listing": 7,
    "execution.show": 30,
    "execution_data.lines": 6,
    "execution_data.output": 6,
    "execution_data.search": 6,
    "execution_data.series": 8,
    "execution_data.resource_series": 8,
    "execution_data.values": 8,
    "execution_data.whole_log": 6,
    "execution_outputs.archive": 8,
    "execution_outputs.media": 6,
    "execution_tabs.configuration": 30,
    "execution_tabs.log": 30,
    "execution_tabs.metrics": 40,
    "execution_tabs.outputs": 30,
    "execution_tabs.show_resources": 30,
    "executions.listing": 23,
    "export.download": 12,
    "invitations.show": 4,
    "members.show": 7,
    "notifications.show": 8,
    "pipelines.listing": 9,
    "pipelines.show": 15,
    "projects.listing": 57,
    "rules.show": 6,
    "run.show": 15,
    "runners.listing": 8,
    "session.login": 2,
    "settings.delete_page": 15,
    "settings.runs": 6,
    "settings.show": 9,
    "settings.variables_page": 6,
    "tasks.listing": 13,
    "tasks.show": 17,
    "users.listing": 5,
}  # by endpoint; the execution has five metrics, of which each is a chart with three queries


# the steps of a project that is pushed to the server are its checks
REDIRECTS = {
    "session.login": 303, "deliveries.listing": 301,
    "connect.access": 303, "connect.repository": 303, "connect.webhook": 303, "documentation.first": 302,
}  # fmt: skip


class Crowded:
    """A copy of the demo's data with MANY of everything that pages list."""

    def __init__(self, demo: Demo, directory: Path) -> None:
        shutil.copytree(demo.config.data, directory, symlinks=True)
        self.demo = demo
        self.app = create_app(replace(demo.config, data=directory))
        self.db = connect(self.app.extensions["pushmill"].config.database)
        with transaction(self.db):
            for number in range(MANY):
                self._add(number)
            self.invitation = sessions.add_invitation(self.db, users.list_users(self.db)[-1].id, 3600)
        self.client = self.app.test_client()
        token = CSRF.search(self.client.get("/login").text)
        assert token is not None
        answer = self.client.post("/login", data={"csrf_token": token[1], "username": "admin", "token": demo.token})
        assert answer.status_code == 303
        self.client.get("/")  # the first page of a server asks once which runners are online

    def _add(self, number: int) -> None:
        demo, commits = (
            self.demo,
            [found["id"] for found in fetch_rows(self.db, "SELECT id FROM git_commit ORDER BY id")],
        )
        commit = commits[number % len(commits)]
        for commit_id in (commit, demo.long.commit_id):
            task = self._clone("task", demo.task.id, commit_id=commit_id)
            trial = self._clone("execution", self._one("execution", "task_id", demo.task.id), task_id=task)
            latest = {
                "execution_id": trial,
                "key_id": number % 3 + 1,
                "seq": 1,
                "time_us": 0,
                "value": 0.5,
                "number": 0.5,
            }
            insert(self.db, "latest", latest)
            pipeline = self._clone("pipeline", demo.pipeline.id, commit_id=commit_id)
            for node in fetch_rows(self.db, "SELECT id FROM pipeline_node WHERE pipeline_id = ?", (demo.pipeline.id,)):
                self._clone("pipeline_node", node["id"], pipeline_id=pipeline)
        self._clone("execution", demo.queued.id)
        runner = runners.add(self.db, f"crowd-{number}", f"pm_crowd_{number}", ["default", "a100"])
        runners.record_heartbeat(self.db, runner, 4, {})
        self._clone("execution", demo.live.id, runner_id=runner)
        project = projects.add(self.db, f"crowd-{number}", demo.project.owner_id)
        person = users.add(self.db, f"person-{number}", is_admin=False)
        for place in (project.id, demo.project.id):
            members.set_role(self.db, place, person.id, Role.WRITER)
        users.add_token(self.db, demo.project.owner_id, f"pm_{number}", "crowd")
        sessions.begin(self.db, demo.project.owner_id, None, "192.0.2.7", "Browser")
        repository = projects.add_repository(self.db, project.id, forge="github", url=None, secret=b"").id
        push = self._one("push", "commit_id", demo.long.commit_id)
        self._clone("push", push, repository_id=repository, delivery_id=None)
        self._clone("push", push, delivery_id=demo.delivery)
        self._clone("execution", demo.failed.id, project_id=project.id)
        deliveries.refuse(self.db, project.id, Received(repository, "github", "push"), "wrong", "no")

    def _clone(self, table: str, row_id: int, **changes: Any) -> int:
        """Copy a row with another identity and these changes."""
        found = fetch_row(self.db, f"SELECT * FROM {table} WHERE id = ?", (row_id,))
        assert found is not None
        counter = fetch_row(
            self.db, f"SELECT MAX({'counter' if 'counter' in found else 'id'}) + 1 AS next FROM {table}"
        )
        assert counter is not None
        own = {"uuid": str(uuid.uuid4()), "counter": counter["next"], "identity": str(uuid.uuid4())}
        values = found | {name: value for name, value in own.items() if name in found} | changes
        del values["id"]
        return insert(self.db, table, values)

    def _one(self, table: str, column: str, value: int) -> int:
        found = fetch_row(self.db, f"SELECT id FROM {table} WHERE {column} = ? ORDER BY id LIMIT 1", (value,))
        assert found is not None
        return int(found["id"])

    def counters(self) -> list[int]:
        """The executions that are compared."""
        return [found["counter"] for found in fetch_rows(self.db, "SELECT counter FROM execution ORDER BY id LIMIT 20")]

    def values(self) -> dict[str, Any]:
        """The parts of every page's address."""
        demo = self.demo
        (output,) = fetch_rows(
            self.db, "SELECT uuid FROM datum WHERE execution_id = ? ORDER BY name LIMIT 1", (demo.long.id,)
        )
        return {
            "name": demo.project.name, "identifier": demo.long.commit_identifier, "number": demo.delivery,
            "tasks.show": demo.task.counter, "pipelines.show": demo.pipeline.counter, "counter": demo.long.counter,
            "kind": "csv", "datum": output["uuid"], "filename": "model.pt", "secret": self.invitation, "page": "steps",
        }  # fmt: skip


@pytest.fixture(scope="module")
def crowded(demo_site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crowded]:
    crowd = Crowded(demo_site.demo, tmp_path_factory.mktemp("crowd") / "data")
    yield crowd
    crowd.db.close()


def pages(app: Flask) -> list[str]:
    """The endpoints of pages, and of what they load; not of redirects to providers of logins."""
    return sorted(
        rule.endpoint
        for rule in app.url_map.iter_rules()
        if "GET" in (rule.methods or ()) and app.view_functions[rule.endpoint].__module__.startswith("web.http.pages.")
        if not rule.endpoint.startswith("logins.")
    )


def test_every_page_has_a_ceiling(crowded: Crowded) -> None:
    assert pages(crowded.app) == sorted(CEILINGS)


@pytest.mark.parametrize("endpoint", sorted(CEILINGS))
def test_a_page_asks_the_database_no_more_often_than_its_ceiling(crowded: Crowded, endpoint: str) -> None:
    demo, values, asked = crowded.demo, crowded.values(), list[str]()
    (rule,) = [rule for rule in crowded.app.url_map.iter_rules(endpoint) if "GET" in (rule.methods or ())]
    named = {name: values.get(endpoint if name == "counter" else name, values[name]) for name in rule.arguments}
    with crowded.app.test_request_context():
        path, db = url_for(endpoint, **named), auth.get_db()
    db.conn.set_trace_callback(asked.append)
    try:
        answer = crowded.client.get(
            path, query_string={"key": "loss", "step": "train", "from": demo.long.counter, "e": crowded.counters()}
        )
        assert answer.status_code == REDIRECTS.get(endpoint, 200)
        answer.get_data()
        answer.close()
    finally:
        db.conn.set_trace_callback(None)
    queries = [statement for statement in asked if QUERY.match(statement)]
    assert len(queries) <= CEILINGS[endpoint], "\n".join(queries)
