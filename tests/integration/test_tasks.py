"""Tasks from creation to end: when executions are created, what stops a task, and its messages."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from api_server import said
from instance import wait_for
from task_site import TaskSite, numbers

from core.states import FailureReason, State
from web.services import launch, reruns
from web.services.executions import lifecycle
from web.store import environments, projects
from web.store.db import execute, fetch_row, insert, transaction


@pytest.fixture
def site(tmp_path: Path) -> Iterator[TaskSite]:
    site = TaskSite(tmp_path / "data")
    yield site
    site.close()


def test_a_grid_becomes_executions_that_name_their_task_and_place(site: TaskSite) -> None:
    task = site.begin(numbers(3), why="Rule nightly", priority=4)
    assert (task.counter, task.name, task.step, task.type, task.planned) == (1, "search", "train", "grid_search", 3)
    assert (task.state, site.trials(task)) == (State.CREATED, [])
    assert site.advance()
    trials = site.trials(task)
    assert [trial.parameters["n"] for trial in trials] == [1, 2, 3]
    assert [(trial.task_id, trial.trial, trial.priority, trial.title) for trial in trials] == [
        (task.id, place, 4, "") for place in range(3)
    ]
    lines = said(site, trials[1].uuid)
    assert lines == ["Execution created", "Rule nightly", "Trial 2 of 3 of task !1 search"]
    assert not site.advance()
    assert len(site.rows_of(task)) == 3


def test_executions_that_are_created_together_share_one_look_at_their_commit_and_the_environments(
    site: TaskSite,
) -> None:
    task = site.begin(numbers(5))
    statements: list[str] = []
    site.db.conn.set_trace_callback(statements.append)
    assert site.advance()
    site.db.conn.set_trace_callback(None)
    assert len(site.trials(task)) == 5
    for text in ("AS trusted", "FROM environment ORDER", "FROM project JOIN", "SELECT * FROM user WHERE"):
        assert sum(text in statement for statement in statements) == 1, text


def test_a_task_takes_no_less_time_than_its_executions(site: TaskSite) -> None:
    task = site.begin(numbers(1))
    site.advance()
    site.move(task, 0, State.QUEUED)
    site.move(task, 0, State.STARTED)
    execute(site.db, "UPDATE execution SET started_at = '2026-01-01T00:00:00.000000Z' WHERE task_id = ?", (task.id,))
    site.advance()  # long after it
    assert site.task(task).started_at == "2026-01-01T00:00:00.000000Z"


def test_a_task_starts_with_its_first_execution_and_ends_with_its_last(site: TaskSite) -> None:
    task = site.begin(numbers(2))
    site.advance()
    site.move(task, 0, State.QUEUED)
    site.advance()
    assert site.task(task).state is State.CREATED
    site.move(task, 0, State.STARTED)
    site.advance()
    found = site.task(task)
    assert (found.state, found.started_at is None, found.ended_at) == (State.STARTED, False, None)
    site.complete(task, 0)
    site.advance()
    assert site.task(task).state is State.STARTED
    site.complete(task, 1)
    site.advance()
    found = site.task(task)
    assert (found.state, found.message, found.ended_at is None) == (State.COMPLETE, "", False)
    assert not site.advance()


@pytest.mark.parametrize(
    ("policy", "state", "message"),
    [
        (None, State.ERROR, "2 of 3 executions failed"),
        ("continue-and-error", State.ERROR, "2 of 3 executions failed"),
        ("continue-and-complete", State.COMPLETE, "2 of 3 executions failed"),
    ],
)
def test_what_failed_executions_mean_is_the_policy_s(site: TaskSite, policy: str, state: State, message: str) -> None:
    task = site.begin(numbers(3, **({"on_child_error": policy} if policy else {})))
    site.advance()
    site.fail(task, 0, 2)
    site.advance()
    assert site.task(task).state is State.STARTED
    site.complete(task, 1)
    site.advance()
    found = site.task(task)
    assert (found.state, found.message) == (state, message)


def test_stop_all_and_error_stops_the_others_and_makes_no_more(site: TaskSite) -> None:
    task = site.begin(numbers(9, on_child_error="stop-all-and-error", maximum_queued_executions=3))
    site.advance()
    site.move(task, 0, State.STARTED)
    site.fail(task, 1)
    site.advance()
    found = site.task(task)
    assert (found.state, found.ending, found.message) == (State.STARTED, State.ERROR, "#2 failed: it broke")
    assert site.states(task) == ["started", "error", "stopped"]
    running = site.of_trial(task, 0)
    assert running.stop_requested_at is not None
    assert "Stopped with task !1: #2 failed: it broke" in said(site, running.uuid)
    site.move(task, 0, State.STOPPED)
    site.advance()
    found = site.task(task)
    assert (found.state, found.message, len(site.rows_of(task))) == (State.ERROR, "#2 failed: it broke", 3)


def test_a_stop_condition_ends_the_task_as_complete(site: TaskSite) -> None:
    task = site.begin(numbers(9, stop_condition="metadata.loss < 0.1 and epoch > 2", maximum_queued_executions=3))
    site.advance()
    site.move(task, 0, State.STARTED)
    site.move(task, 1, State.STARTED)
    site.printed(task, 0, loss=0.05, epoch=1)
    site.printed(task, 1, loss="NaN", epoch=[3])
    site.advance()
    assert site.task(task).ending is None
    site.printed(task, 0, loss=0.04, epoch=3)
    site.advance()
    assert (site.task(task).message, site.states(task)) == (
        "stop condition met by #1",
        ["started", "started", "stopped"],
    )
    assert [trial.stop_count for trial in site.trials(task)] == [1, 1, 1]
    site.printed(task, 0, loss=9, epoch=4)  # what is decided stays so
    site.move(task, 0, State.STOPPED)
    site.move(task, 1, State.STOPPED)
    site.advance()
    found = site.task(task)
    assert (found.state, found.message, len(site.rows_of(task))) == (State.COMPLETE, "stop condition met by #1", 3)


def test_a_stopped_task_stops_what_there_is_and_makes_no_more(site: TaskSite) -> None:
    task = site.begin(numbers(9, maximum_queued_executions=3))
    site.advance()
    site.move(task, 0, State.STARTED)
    site.complete(task, 1)
    site.stop(task)
    site.stop(task, "bob")
    assert site.task(task).status == "stopping"
    site.advance()
    assert site.states(task) == ["started", "complete", "stopped"]
    assert site.task(task).state is State.STARTED
    site.move(task, 0, State.STOPPED)
    site.advance()
    found = site.task(task)
    assert (found.state, found.message, found.stopped_by) == (State.STOPPED, "stopped by ada", "ada")
    site.stop(task)
    assert len(site.rows_of(task)) == 3


def test_a_task_that_is_stopped_before_anything_was_made_ends_at_once(site: TaskSite) -> None:
    task = site.begin(numbers(9))
    site.stop(task, "#5", message="Superseded by #5")
    assert not site.advance()
    found = site.task(task)
    assert (found.state, found.message, site.trials(task)) == (State.STOPPED, "Superseded by #5", [])


def test_an_execution_that_a_person_stops_is_no_error_of_its_task(site: TaskSite) -> None:
    task = site.begin(numbers(4, maximum_queued_executions=2))
    site.advance()
    lifecycle.request_stop(site.context, site.of_trial(task, 0).uuid, "ada")
    site.advance()
    assert site.states(task) == ["stopped", "created", "created"]
    site.complete(task, 1, 2)
    site.advance()
    site.complete(task, 3)
    site.advance()
    found = site.task(task)
    assert (found.state, found.message) == (State.COMPLETE, "1 of 4 executions was stopped")


def test_a_task_of_which_everything_was_stopped_is_stopped(site: TaskSite) -> None:
    task = site.begin(numbers(2))
    site.advance()
    for trial in site.trials(task):
        lifecycle.request_stop(site.context, trial.uuid, "ada")
    site.advance()
    found = site.task(task)
    assert (found.state, found.message) == (State.STOPPED, "2 of 2 executions were stopped")


def test_no_more_than_the_maximum_are_unfinished_at_once(site: TaskSite) -> None:
    task = site.begin(numbers(5, maximum_queued_executions=2))
    site.advance()
    assert len(site.trials(task)) == 2
    site.move(task, 0, State.STARTED)
    site.advance()
    assert len(site.trials(task)) == 2
    site.complete(task, 0)
    site.fail(task, 1)
    site.advance()
    assert site.states(task) == ["complete", "error", "created", "created"]
    site.complete(task, 2, 3)
    site.advance()
    site.complete(task, 4)
    site.advance()
    assert site.task(task).state is State.ERROR


def test_the_newest_execution_of_a_place_counts(site: TaskSite) -> None:
    task = site.begin(numbers(2))
    site.advance()
    site.fail(task, 0)
    with transaction(site.db):
        launch.rerun(site.context, site.of_trial(task, 0), site.admin, "Runs again")
    site.complete(task, 1)
    site.advance()
    assert site.task(task).state is State.STARTED
    site.complete(task, 0)
    site.advance()
    assert (site.task(task).state, len(site.rows_of(task))) == (State.COMPLETE, 3)


def test_what_was_lost_and_restarts_by_itself_is_not_over(site: TaskSite) -> None:
    task = site.begin(numbers(4, on_child_error="stop-all-and-error", maximum_queued_executions=2))
    site.advance()
    execute(site.db, "UPDATE execution SET autorestart = 1 WHERE task_id = ?", (task.id,))
    site.fail(task, 0, reason=FailureReason.RUNNER_LOST)
    site.complete(task, 1)
    site.advance()
    assert (site.task(task).ending, site.states(task)) == (None, ["error", "complete", "created"])
    site.complete(task, 2)
    site.advance()
    site.complete(task, 3)
    site.advance()
    assert (site.task(task).state, site.states(task)) == (State.STARTED, ["error", "complete", "complete", "complete"])
    reruns.restart_lost(site.context)
    site.complete(task, 0)
    site.advance()
    assert (site.task(task).state, site.task(task).message) == (State.COMPLETE, "")


def test_a_given_parameter_goes_to_all_and_the_environment_is_instead_of_the_step_s(site: TaskSite) -> None:
    with transaction(site.db):
        environments.ensure(site.db, "big")
    task = site.begin(numbers(2), parameters={"lr": "0.5"}, environment="big")
    site.advance()
    assert [(trial.parameters["lr"], trial.environment) for trial in site.trials(task)] == [(0.5, "big")] * 2


def test_an_image_that_the_environment_refuses_fails_the_executions_and_so_the_task(site: TaskSite) -> None:
    execute(site.db, "UPDATE environment SET images = ?", ('["python:*"]',))
    task = site.begin(numbers(2))
    site.advance_all()
    found = site.task(task)
    assert (found.state, found.message) == (State.ERROR, "2 of 2 executions failed")


def test_an_execution_that_cannot_be_made_ends_the_task_with_the_reason(site: TaskSite) -> None:
    inputs = [{"name": "data", "default": "https://example.org/{parameter:opt}"}]
    step = {"inputs": inputs, "parameters": [{"name": "opt", "type": "string"}]}
    items = {"name": "opt", "style": "multiple", "rules": {"items": ["a", "a b", "c"]}}
    task = site.begin({"parameters": [items]}, step)
    site.advance_all()
    found = site.task(task)
    assert (found.ending, found.state) == (State.ERROR, State.ERROR)
    assert found.message.startswith('trial 2 cannot be created: step "train" cannot run: input "data": ')
    assert site.states(task) == ["stopped"]


def test_a_search_that_is_no_longer_understood_ends_the_task_and_holds_up_no_other(site: TaskSite) -> None:
    broken, spoilt, fine = site.begin(numbers(2)), site.begin(numbers(2)), site.begin(numbers(2))
    execute(site.db, "UPDATE task SET config = '[]' WHERE id = ?", (broken.id,))
    execute(site.db, "UPDATE task SET config = '[{\"task\": 1}]' WHERE id = ?", (spoilt.id,))
    assert site.advance()
    found = site.task(broken)
    assert (found.state, found.message) == (State.ERROR, 'there is no task "search"; there are: none')
    assert len(site.trials(fine)) == 2


def test_a_random_search_repeats_with_the_seed_that_its_rules_give(site: TaskSite) -> None:
    def drawn(**rules: Any) -> list[float]:
        parameters = [{"name": "lr", "style": "random", "rules": {"min": 0, "max": 1} | rules}]
        task = site.begin({"type": "random_search", "execution_count": 4, "parameters": parameters})
        site.advance()
        return [trial.parameters["lr"] for trial in site.trials(task)]

    assert drawn(seed=7) == drawn(seed=7)
    assert drawn() != drawn()


def test_a_thousand_executions_are_made_fifty_at_a_time(site: TaskSite) -> None:
    task = site.begin(numbers(1000))
    other = site.begin(numbers(2))
    assert site.advance()
    assert (len(site.rows_of(task)), len(site.rows_of(other))) == (50, 2)
    site.advance_all()
    assert [found["trial"] for found in site.rows_of(task)] == list(range(1000))
    site.stop(task)
    site.advance()
    assert site.task(task).state is State.STOPPED
    found = fetch_row(site.db, "SELECT COUNT(*) AS n FROM execution WHERE state = 'stopped'")
    assert found == {"n": 1000}


WORKER = """
import sys
from pathlib import Path
from core.config import build_config
from web.services import tasks, vault
from web.services.context import open_context
config = build_config({"redis": {"url": "redis://127.0.0.1:1/0"}}, Path(sys.argv[1]))
with open_context(config, vault.load(config.data / "secret.key")) as context:
    print("ready", flush=True)
    sys.stdin.readline()
    while tasks.advance(context):
        pass
"""


def worker(site: TaskSite) -> subprocess.Popen[str]:
    """A process that advances once it is told to."""
    command = [sys.executable, "-c", WORKER, str(site.config.data)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def ended(process: subprocess.Popen[str]) -> int:
    with process:
        return process.wait(60)


def test_kills_while_executions_are_made_and_stopped_leave_none_out_and_none_twice(site: TaskSite) -> None:
    task = site.begin(numbers(1000))
    chance = random.Random(20261125)
    for least in sorted(chance.sample(range(50, 600), 4)):
        process = worker(site)
        go(process)
        wait_for(lambda least=least: len(site.rows_of(task)) >= least, every=0.001)
        process.kill()
        assert ended(process) == -signal.SIGKILL
        assert len(site.rows_of(task)) < 1000
    site.advance_all()
    found = site.trials(task)
    assert [trial["trial"] for trial in site.rows_of(task)] == list(range(1000))
    assert [trial.parameters["n"] for trial in found] == list(range(1, 1001))
    assert [trial.counter for trial in found] == list(range(1, 1001))
    assert all(said(site, trial.uuid)[-1].startswith(f"Trial {trial.counter} of 1000") for trial in found[::97])
    site.stop(task)
    process = worker(site)
    go(process)
    wait_for(lambda: site.states(task).count("stopped") >= 100, every=0.001)
    process.kill()
    assert ended(process) == -signal.SIGKILL
    assert site.task(task).ended_at is None
    site.advance()
    assert (site.task(task).state, set(site.states(task))) == (State.STOPPED, {"stopped"})
    assert {trial.stop_count for trial in site.trials(task)} == {1}


def test_two_that_advance_at_once_make_nothing_twice(site: TaskSite) -> None:
    task = site.begin(numbers(600))
    both = [worker(site), worker(site)]
    for process in both:
        go(process)
    assert [ended(process) for process in both] == [0, 0]
    assert [trial["trial"] for trial in site.rows_of(task)] == list(range(600))


def test_forges_are_told_of_each_move(site: TaskSite) -> None:
    task = site.begin(numbers(1))
    repository = projects.list_repositories(site.db, site.demo.id)[0].id
    execute(site.db, "UPDATE repository SET api_token = 'x'")
    with transaction(site.db):
        insert(
            site.db,
            "push",
            {"repository_id": repository, "ref": "refs/heads/main", "before": "0", "after": "1", "pusher": "", "message": "",
             "options": "[]", "identity": "1", "commit_id": task.commit_id, "created_at": task.created_at},
        )  # fmt: skip

    def marks() -> int:
        found = fetch_row(site.db, "SELECT version FROM outbox WHERE subject = ?", (task.commit_identifier,))
        return found["version"] if found else 0

    site.advance()
    assert marks() == 0
    site.move(task, 0, State.STARTED)
    site.advance()
    assert marks() == 1
    site.complete(task, 0)
    site.advance()
    assert marks() == 2
    other = site.begin(numbers(1))
    execute(site.db, "UPDATE task SET commit_id = ? WHERE id = ?", (task.commit_id, other.id))
    site.stop(site.task(other))
    assert marks() == 3
    site.advance()
    assert marks() == 4
