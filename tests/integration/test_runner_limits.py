"""Limits of a registered runner: its number of slots, and the projects whose executions it gets."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from api_server import ApiServer
from click.testing import CliRunner
from site_client import Person

from core.config import Config
from core.errors import Conflict, InvalidInput, NotFound
from core.model import Runner
from core.states import State
from web.cli.main import group
from web.services import setup
from web.services.executions import lifecycle
from web.services.runners.registration import RunnerLimits, limit
from web.services.scheduling import wait_reason
from web.services.scheduling.dispatch import dispatch
from web.store import runners, users
from web.store.db import connect, transaction
from web.store.migrations import m0010_walls


def runner(api: ApiServer, name: str = "one") -> Runner:
    found = runners.find_by_name(api.db, name)
    assert found is not None
    return found


def report(api: ApiServer, slots: int, name: str = "one") -> None:
    assert api.call("heartbeat", {"slots": slots, "info": {}}, name).status_code == 200


def dispatched(api: ApiServer) -> None:
    dispatch(api.context, api.app.extensions["pushmill"].queues)


def command(api: ApiServer, *arguments: str) -> Any:
    return CliRunner().invoke(group, ["runner", *arguments, "--data", str(api.config.data)])


def test_slots_beyond_what_registration_allowed_do_not_count_and_are_a_problem(api: ApiServer) -> None:
    report(api, 10_000)
    assert runner(api).slots == 16
    page = Person(api)
    page.log_in()
    said = "Offers 10000 slots, of which 16 are allowed: `pushmill runner limit one --slots 10000` allows all"
    assert re.sub("`(.*)`", r"<code>\1</code>", said) in page.get("/runners/").text
    assert said in command(api, "list").output
    limit(api.db, runner(api), RunnerLimits(slots=2))
    assert runner(api).slots == 2
    made = [api.add_execution() for _ in range(3)]
    dispatched(api)
    assert [api.execution(e.uuid).runner_id for e in made] == [runner(api).id, runner(api).id, None]
    report(api, 2)
    assert "It reports" not in page.get("/runners/").text


def test_this_machines_runner_may_have_what_the_configuration_says(api: ApiServer) -> None:
    name = api.config.runner.name
    for slots in (3, 40, 2):
        setup.prepare(_with_slots(api.config, slots))
        assert runner(api, name).most_slots == slots


def _with_slots(config: Config, slots: int) -> Config:
    return replace(config, runner=replace(config.runner, slots=slots))


def test_a_runner_of_other_projects_gets_nothing_and_the_waiting_are_told(api: ApiServer) -> None:
    api.project("other")
    for found in runners.list_runners(api.db):
        limit(api.db, found, RunnerLimits(projects=["other"]))
    api.online("one")
    execution = api.add_execution()
    dispatched(api)
    assert api.execution(execution.uuid).runner_id is None
    why = wait_reason.explain_wait(api.context, api.execution(execution.uuid))
    assert why == "No runner of environment default accepts project demo"
    api.online("two")
    limit(api.db, runner(api, "two"), RunnerLimits(projects=["other", "demo"]))
    dispatched(api)
    assert api.execution(execution.uuid).runner_id == runner(api, "two").id


def test_what_was_placed_before_a_project_was_taken_away_cannot_be_claimed(api: ApiServer) -> None:
    held, _ = api.started()
    uuid, attempt = api.placed()
    api.project("other")
    limit(api.db, runner(api), RunnerLimits(projects=["other"]))
    assert api.call(f"executions/{uuid}/claim", {"attempt": attempt, "resume": False}).status_code == 409
    dispatched(api)
    assert api.execution(uuid).runner_id is None
    with pytest.raises(Conflict):
        lifecycle.claim(api.context, runner(api), uuid, attempt, resume=False)
    assert api.execution(held).state is State.STARTED  # what it holds it keeps


def test_limits_are_set_by_administrators_on_the_page(api: ApiServer) -> None:
    with transaction(api.db):
        users.add_token(api.db, users.add(api.db, "grace", is_admin=False).id, "pm_grace", "test")
    grace, admin = Person(api), Person(api)
    grace.log_in("grace", "pm_grace")
    admin.log_in()
    form = {"slots": "3", "projects": "demo"}
    assert grace.post("/runners/one/limits", "/p/demo/settings/", **form).status_code == 403
    assert admin.post("/runners/one/limits", "/runners/", **form).status_code == 303
    assert (runner(api).most_slots, runner(api).projects) == (3, ("demo",))
    for wrong in ({"slots": "-1"}, {"slots": "1001"}, {"slots": "many"}, {"projects": "nowhere"}):
        assert admin.post("/runners/one/limits", "/runners/", **form | wrong).status_code in (400, 404)
    assert (runner(api).most_slots, runner(api).projects) == (3, ("demo",))
    assert admin.post("/runners/one/limits", "/runners/", slots="4", projects="").status_code == 303
    assert (runner(api).most_slots, runner(api).projects) == (4, ())


def test_limits_are_set_by_command(api: ApiServer) -> None:
    assert command(api, "limit", "one").output == "one may have 16 slots and serves every project\n"
    done = command(api, "limit", "one", "--slots", "4", "--project", "demo")
    assert done.output == "one may have 4 slots and serves projects demo\n"
    assert command(api, "limit", "one", "--slots", "5").output == "one may have 5 slots and serves projects demo\n"
    shown = next(item for item in json.loads(command(api, "list", "--json").output) if item["name"] == "one")
    assert (shown["most_slots"], shown["projects"]) == (5, ["demo"])
    assert isinstance(command(api, "limit", "one", "--project", "nowhere").exception, NotFound)
    both = command(api, "limit", "one", "--project", "demo", "--all-projects")
    assert isinstance(both.exception, InvalidInput)
    assert command(api, "limit", "one", "--all-projects").output == "one may have 5 slots and serves every project\n"


def test_registering_again_keeps_limits_that_are_not_given(api: ApiServer) -> None:
    limit(api.db, runner(api), RunnerLimits(slots=7, projects=["demo"]))
    with transaction(api.db):
        runners.add(api.db, "one", "pm_new", ["default"])
    assert (runner(api).most_slots, runner(api).projects) == (7, ("demo",))


def test_the_database_of_an_older_version_keeps_the_slots_that_were_reported(tmp_path: Any) -> None:
    db = connect(tmp_path / "old.db")
    db.conn.executescript(
        "CREATE TABLE project (id INTEGER PRIMARY KEY, name TEXT); INSERT INTO project VALUES (1, 'demo');"
        "CREATE TABLE runner (id INTEGER PRIMARY KEY, slots INTEGER);"
        "INSERT INTO runner VALUES (1, 0), (2, 3), (3, 100000);"
    )
    m0010_walls.migrate(db)
    assert [
        tuple(found) for found in db.conn.execute("SELECT slots, most_slots, projects FROM runner ORDER BY id")
    ] == [
        (0, 16, "[]"),
        (3, 3, "[]"),
        (256, 256, "[]"),
    ]
    assert [tuple(found) for found in db.conn.execute("SELECT environments FROM project")] == [("[]",)]
    db.close()
