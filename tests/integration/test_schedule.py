"""Scheduled rules: each planned time runs exactly once, however often the worker looks."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from instance import Checkout
from push_server import PushServer, bare_repository, step
from ruled_project import ALL, Model, started

from core import clock
from core.model import EventKind
from core.states import State
from web.services.presentation import badges
from web.services.presentation.badges import BadgeQuery
from web.services.triggers import schedule
from web.store import deliveries, launched, projects
from web.store.db import execute, transaction

NIGHTLY = """[[rule]]
name = "nightly"
schedule = "0 3 * * *"
steps = ["train"]
cancel_older = true
[[rule]]
name = "pushes"
steps = ["check"]
"""
LOOKS = """
import pathlib, sys
from web.services.triggers import schedule
from web.store.db import connect
db = connect(pathlib.Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.read()
for _ in range(20):
    schedule.store_due(db)
"""


@pytest.fixture
def here(pushes: PushServer, checkout: Checkout) -> Model:
    return Model(pushes, checkout, NIGHTLY)


def pass_days(pushes: PushServer, days: float) -> None:
    """As if the rules had been written that long ago, and nobody had looked since."""
    execute(pushes.db, "UPDATE project SET rules_changed_at = ?", (ago(days),))


def ago(days: float) -> str:
    return clock.format_moment(datetime.now(UTC) - timedelta(days=days))


def sweep(pushes: PushServer, now: datetime | None = None) -> None:
    schedule.store_due(pushes.db, now)
    pushes.drain()


def scheduled(pushes: PushServer, project: str = "model") -> list[tuple[str, str]]:
    found = [delivery for delivery in pushes.deliveries(project) if delivery.source == "schedule"]
    return [(delivery.state, delivery.message) for delivery in found]


def test_nothing_is_due_before_the_first_time_after_the_rules_were_written(here: Model) -> None:
    sweep(here.pushes)
    assert here.made == []
    assert scheduled(here.pushes) == []


def test_after_a_long_downtime_it_runs_once_at_the_branch_s_head(here: Model) -> None:
    pass_days(here.pushes, 9.5)
    for _ in range(3):
        sweep(here.pushes)
    assert scheduled(here.pushes) == [("done", "main: 1 execution")]
    push = here.pushes.pushes("model")[-1]
    assert (push.kind, push.ref, push.pusher) == (EventKind.SCHEDULE, "refs/heads/main", "schedule nightly")
    assert push.after == here.checkout.git("rev-parse", "HEAD").stdout.strip()  # whose message says [skip ci]
    assert here.states == [("train", State.QUEUED)]
    assert "Chosen by rule nightly" in here.log(here.made[0])


def test_each_planned_time_runs_though_nothing_was_pushed_between(here: Model) -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    sweep(here.pushes, tomorrow)
    sweep(here.pushes, tomorrow + timedelta(days=1))
    sweep(here.pushes, tomorrow + timedelta(days=1))
    assert [execution.step for execution in here.made] == ["train", "train"]


def test_many_processes_that_look_at_once_make_it_run_once(here: Model) -> None:
    pass_days(here.pushes, 1.5)
    command = [sys.executable, "-P", "-c", LOOKS, str(here.pushes.config.database)]
    looking = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(3)]
    for process in looking:
        assert process.stdout
        process.stdout.readline()  # it is ready
    for process in looking:
        assert process.stdin
        process.stdin.close()  # and now they all look
    for process in looking:
        assert process.wait() == 0
        assert process.stdout
        process.stdout.close()
    with here.pushes.worker():
        here.push()
    assert len(scheduled(here.pushes)) == len(here.made) == 1


def test_a_run_stops_only_older_runs_of_its_own_schedule(here: Model) -> None:
    here.rules(NIGHTLY.replace('["check"]', '["*"]') + 'schedule = "0 4 * * *"\nevents = ["push"]\n')
    here.change({"a": "1"})
    tomorrow = datetime.now(UTC).replace(hour=12) + timedelta(days=1)
    sweep(here.pushes, tomorrow)
    started(here.pushes, here.made[2])
    sweep(here.pushes, tomorrow + timedelta(days=1))
    by_push, by_four = [("train", State.QUEUED), ("check", State.QUEUED)], [("train", State.QUEUED)]
    assert here.states[:2] == by_push
    assert sorted(here.states[2:5]) == sorted([("train", State.STARTED), *by_four, ("check", State.QUEUED)])
    stopping = [e for e in here.made if e.stop_requested_at]
    assert [e.id for e in stopping] == [here.made[2].id]
    assert "Superseded by #6" in here.log(stopping[0])


def test_a_run_stops_the_older_tasks_and_pipelines_of_its_own_schedule_alone(here: Model) -> None:
    rule = 'tasks = ["*"]\npipelines = ["*"]\ncancel_older = true\n'
    here.rules(
        f'[[rule]]\nname = "three"\nschedule = "0 3 * * *"\n{rule}[[rule]]\nname = "four"\nschedule = "0 4 * * *"\n{rule}'
        f'[[rule]]\nname = "pushes"\n{rule}'
    )
    here.change({"valohai.yaml": ALL})
    noon = datetime.now(UTC).replace(hour=12)
    sweep(here.pushes, noon + timedelta(days=1))
    rules = "UPDATE project SET rules = replace(rules, '0 4 * * *', '0 4 1 1 *')"  # it does not come again
    execute(here.pushes.db, rules)
    sweep(here.pushes, noon + timedelta(days=2))
    found = {push.pusher: push for push in here.pushes.pushes("model")[1:4]}
    assert len(found) == 3
    stopped = {
        pusher: [bool(one.stop_requested_at) for one in launched.list_for_push(here.pushes.db, push.id)]
        for pusher, push in found.items()
    }
    assert stopped == {"admin": [False] * 2, "schedule three": [True] * 2, "schedule four": [False] * 2}


def test_a_push_leaves_what_a_schedule_runs(here: Model) -> None:
    pass_days(here.pushes, 1.5)
    sweep(here.pushes)
    here.rules('[[rule]]\nname = "all"\ncancel_older = true\n')
    here.change({"a": "1"})
    assert here.states[0] == ("train", State.QUEUED)


def test_a_branch_that_is_not_there_is_said_once_and_not_tried_again(here: Model) -> None:
    here.rules('[[rule]]\nname = "r"\nschedule = "0 3 * * *"\nbranch = "gone"\n')
    pass_days(here.pushes, 1.5)
    for _ in range(3):
        sweep(here.pushes)
    assert scheduled(here.pushes) == [("failed", "rule r runs branch gone, which does not exist")]


def test_a_project_without_a_commit_is_said_too(pushes: PushServer) -> None:
    pushes.add_project("empty", projects.HOSTED, None)
    projects.set_rules(pushes.db, projects.get_by_name(pushes.db, "empty").id, NIGHTLY)
    pass_days(pushes, 1.5)
    sweep(pushes)
    assert scheduled(pushes, "empty") == [("failed", "rule nightly runs branch main, which does not exist")]


def test_a_remote_is_fetched_first_and_times_that_passed_while_it_was_away_are_one(
    pushes: PushServer, checkout: Checkout, tmp_path: Path
) -> None:
    pushes.with_git(allow_local=True)
    path = tmp_path / "away.git"
    pushes.add_project("model", "plain", str(path))
    projects.set_rules(pushes.db, projects.get_by_name(pushes.db, "model").id, NIGHTLY)
    pass_days(pushes, 5)
    noon = datetime.now(UTC).replace(hour=12)
    for days in (3, 2):
        sweep(pushes, noon - timedelta(days=days))
    assert {state for state, _ in scheduled(pushes)} == {"ignored"}  # their next time has come as well
    sweep(pushes)
    assert scheduled(pushes)[-1][0] == "stored"
    assert "away.git" in scheduled(pushes)[-1][1]
    bare_repository(path)
    sha = checkout.commit({"valohai.yaml": step("train")})
    checkout.git("push", "-q", str(path), "main")
    with transaction(pushes.db):
        deliveries.retry_now(pushes.db, pushes.deliveries("model")[-1].id)
    sweep(pushes)
    assert scheduled(pushes)[-1] == ("done", "main: 1 execution")
    assert [execution.commit_identifier for execution in pushes.executions("model")] == [sha]


def test_a_time_that_is_run_again_by_a_person_runs_again(here: Model) -> None:
    pass_days(here.pushes, 1.5)
    sweep(here.pushes)
    row = here.pushes.deliveries("model")[-1].id
    with transaction(here.pushes.db):
        deliveries.store_again(here.pushes.db, row)
    sweep(here.pushes)
    assert [execution.step for execution in here.made] == ["train", "train"]
    assert here.pushes.pushes("model")[-1].again_of is not None


def test_a_badge_of_pushes_does_not_count_scheduled_runs_and_one_of_schedules_nothing_else(here: Model) -> None:
    here.change({"a": "1"})
    execute(here.pushes.db, "UPDATE execution SET state = 'complete', ended_at = ?", (clock.now(),))

    def badge(event: str) -> str:
        projects.set_badge_public(here.pushes.db, projects.get_by_name(here.pushes.db, "model").id, True)
        return badges.make_badge(here.pushes.context, BadgeQuery(project="model", event=event)).message

    assert (badge("push"), badge("schedule")) == ("passing", "unknown")
    sweep(here.pushes, datetime.now(UTC) + timedelta(days=1))
    assert (badge("push"), badge("schedule")) == ("passing", "running")


def test_a_hundred_schedules_cost_a_sweep_next_to_nothing(pushes: PushServer) -> None:
    for number in range(100):
        pushes.add_project(f"p{number}", projects.HOSTED, None)
    execute(pushes.db, "UPDATE project SET rules = ?, rules_changed_at = ?", (NIGHTLY, clock.now()))
    schedule.store_due(pushes.db)
    begun = time.process_time()
    for _ in range(10):
        schedule.store_due(pushes.db)
    assert (time.process_time() - begun) / 10 < 0.05
