"""Statuses of tasks and pipelines: one each, in few posts, and none for their parts."""

from __future__ import annotations

from dataclasses import replace

import by_hand
import pytest
from fake_forge import KINDS
from instance import wait_for
from made_groups import Groups
from test_statuses import FAILURE, RUNNING, SUCCESS, WAITING
from told_forge import URL, ToldForge

from core import clock
from core.groups import Task
from core.states import FailureReason, State
from web.config.pipelines.plan import plan as plan_pipeline
from web.config.tasks.plan import plan as plan_task
from web.services import pipelines, tasks
from web.services.forges import enqueue, statuses
from web.services.presentation.headline import STAGES
from web.store import outbox, projects, users
from web.store import pipelines as pipeline_store
from web.store.db import execute, fetch_rows, transaction

each = pytest.mark.parametrize("forge", KINDS, indirect=True)


def pushed(told: ToldForge, *, step: bool = False, by_hand: bool = False) -> Groups:
    """A commit of the step `train`, which runs by itself only if `step`."""
    told.push("train", message="work" if step else "work [skip ci]")
    return replace(of_last_push(told), push_id=None) if by_hand else of_last_push(told)


def of_last_push(told: ToldForge) -> Groups:
    push = told.server.pushes("model")[-1]
    return Groups(
        db=told.db,
        context=told.server.context,
        project=projects.get_by_name(told.db, "model"),
        commit=told.server.commit("model", push.after),
        user=users.get(told.db, 1),
        push_id=push.id,
    )


def lines(told: ToldForge, groups: Groups) -> dict[str, str]:
    """What should be said of a commit now."""
    found = statuses.list_wanted(told.server.context, told.repository, groups.commit)
    return {one.context: one.description for one in found}


def searched(groups: Groups, *accuracies: float | None, planned: int = 0) -> Task:
    """A started task whose executions finished with these, or failed."""
    task = groups.task("search", planned or len(accuracies))
    groups.move(task, State.STARTED)
    for place, accuracy in enumerate(accuracies):
        trial = groups.trial(task, place)
        if accuracy is None:
            groups.end(trial, State.ERROR, FailureReason.COMMAND_FAILED)
        else:
            groups.end(trial, accuracy=accuracy)
    return task


@each
def test_a_task_is_one_status_from_waiting_to_its_end(told: ToldForge) -> None:
    kind, groups = told.forge.kind, pushed(told)
    sha = groups.commit.identifier
    task = groups.task("search", 3)
    told.tell()
    assert told.states(sha) == {"pushmill/task search": WAITING[kind], "pushmill": WAITING[kind]}
    assert told.shown(sha)["pushmill/task search"][1] == "3 executions to run"
    first, second, third = (groups.trial(task, place) for place in range(3))
    groups.move(task, State.STARTED)
    groups.end(first, accuracy=0.9)
    groups.end(second, accuracy=0.942)
    told.tell()
    assert told.states(sha) == {"pushmill/task search": RUNNING[kind], "pushmill": RUNNING[kind]}
    assert told.shown(sha)["pushmill/task search"][1] == "2 of 3 finished · best accuracy 0.942 (#2)"
    groups.end(third, accuracy=0.5)
    groups.move(task, State.COMPLETE)
    told.tell()
    assert told.states(sha) == {"pushmill/task search": SUCCESS[kind], "pushmill": SUCCESS[kind]}
    assert told.shown(sha)["pushmill/task search"][1] == "3 executions · best accuracy 0.942 (#2) · 14 m"
    assert told.shown(sha)["pushmill"][1] == "1 task succeeded"
    links = {status["name"]: status["url"] for status in told.forge.statuses}
    assert links["pushmill/task search"] == f"{URL}/p/model/tasks/1/"
    assert told.states(sha) == told.wanted(sha)


@each
def test_a_pipeline_is_one_status_from_waiting_to_its_end(told: ToldForge) -> None:
    kind, groups = told.forge.kind, pushed(told)
    sha = groups.commit.identifier
    pipeline = groups.pipeline("full", "prepare", "deploy")
    told.tell()
    assert told.states(sha) == {"pushmill/pipeline full": WAITING[kind], "pushmill": WAITING[kind]}
    assert told.shown(sha)["pushmill/pipeline full"][1] == "2 nodes to run"
    groups.move(pipeline, State.STARTED)
    groups.end(groups.run(pipeline, "prepare"))
    groups.move(groups.node(pipeline, "prepare"), State.COMPLETE)
    told.tell()
    assert told.states(sha) == {"pushmill/pipeline full": RUNNING[kind], "pushmill": RUNNING[kind]}
    assert told.shown(sha)["pushmill/pipeline full"][1] == "1 of 2 nodes finished"
    groups.end(groups.run(pipeline, "deploy"))
    groups.move(groups.node(pipeline, "deploy"), State.COMPLETE)
    groups.move(pipeline, State.COMPLETE)
    told.tell()
    assert told.states(sha) == {"pushmill/pipeline full": SUCCESS[kind], "pushmill": SUCCESS[kind]}
    assert told.shown(sha)["pushmill/pipeline full"][1] == "2 nodes · 14 m"
    links = {status["name"]: status["url"] for status in told.forge.statuses}
    assert links["pushmill/pipeline full"] == f"{URL}/p/model/pipelines/1/"
    assert told.states(sha) == told.wanted(sha)


@each
def test_what_failed_is_told_with_why(told: ToldForge) -> None:
    kind, groups = told.forge.kind, pushed(told)
    pipeline = groups.pipeline("full", "train")
    groups.end(groups.run(pipeline, "train"), State.ERROR, FailureReason.COMMAND_FAILED)
    groups.move(groups.node(pipeline, "train"), State.ERROR)
    groups.move(pipeline, State.ERROR, "train failed: #1 exited with 1")
    groups.move(searched(groups, 0.5, None), State.ERROR)
    told.tell()
    shown = told.shown(groups.commit.identifier)
    assert shown["pushmill/pipeline full"] == (FAILURE[kind], "train failed: #1 exited with 1 · 14 m")
    assert shown["pushmill/task search"] == (FAILURE[kind], "1 of 2 executions failed · best accuracy 0.5 (#2) · 14 m")
    assert shown["pushmill"] == (FAILURE[kind], "failed: task search, pipeline full")


def test_a_group_whose_executions_the_machines_failed_is_an_error(told: ToldForge) -> None:
    groups = pushed(told)
    task, pipeline = groups.task("search"), groups.pipeline("full", "a", "b")
    lost, again, wrong = (groups.trial(task, place) for place in (0, 1, 1))
    groups.end(lost, State.ERROR, FailureReason.RUNNER_LOST)
    groups.end(again, State.ERROR, FailureReason.COMMAND_FAILED)
    groups.end(wrong, State.ERROR, FailureReason.DISK)  # the newest one of its place counts
    groups.move(task, State.ERROR)
    groups.end(groups.run(pipeline, "a"), State.ERROR, FailureReason.RUNNER_LOST)
    groups.end(groups.run(pipeline, "b"), State.ERROR, FailureReason.RUNNER_LOST)
    groups.move(pipeline, State.ERROR)
    told.tell()
    states = told.states(groups.commit.identifier)
    assert states == {"pushmill/task search": "error", "pushmill/pipeline full": "error", "pushmill": "error"}
    failed = groups.task("search")
    groups.end(groups.trial(failed, 0), State.ERROR, FailureReason.OUT_OF_MEMORY)
    groups.end(groups.trial(failed, 1), State.ERROR, FailureReason.RUNNER_LOST)
    groups.move(failed, State.ERROR)
    both = groups.pipeline("full", "a", "b")
    groups.end(groups.run(both, "a"), State.ERROR, FailureReason.COMMAND_FAILED)
    groups.end(groups.run(both, "b"), State.ERROR, FailureReason.RUNNER_LOST)
    groups.move(both, State.ERROR)
    told.tell()
    assert set(told.states(groups.commit.identifier).values()) == {"failure"}


def test_who_waits_and_who_stopped_it_is_told(told: ToldForge) -> None:
    groups = pushed(told)
    pipeline, task = groups.pipeline("full", "train", "deploy", "shout"), groups.task("search")
    asked = {"approval_asked_at": clock.now()}
    groups.move(groups.node(pipeline, "deploy"), State.CREATED, **asked)
    assert lines(told, groups)["pushmill/pipeline full"] == "0 of 3 nodes finished · waiting for approval of deploy"
    groups.move(pipeline, State.STARTED)
    groups.move(groups.node(pipeline, "train"), State.COMPLETE)
    assert lines(told, groups)["pushmill/pipeline full"] == "1 of 3 nodes finished · waiting for approval of deploy"
    groups.move(groups.node(pipeline, "shout"), State.STARTED, **asked)
    assert lines(told, groups)["pushmill/pipeline full"].endswith("waiting for approval of deploy, shout")
    groups.move(pipeline, State.STOPPED, "stopped by ada")
    groups.move(task, State.STOPPED, "the pipeline has stopped it")
    told.tell()
    shown = told.shown(groups.commit.identifier)
    assert shown["pushmill/pipeline full"] == ("error", "stopped by ada · 14 m")
    assert shown["pushmill/task search"] == ("error", "the pipeline has stopped it · 14 m")
    assert shown["pushmill"] == ("error", "stopped: task search, pipeline full")


def test_neither_trials_nor_nodes_have_a_status_or_count_as_a_step(told: ToldForge) -> None:
    groups = pushed(told, step=True)
    sha = groups.commit.identifier
    told.printed("train", accuracy=0.25)
    told.move("train", State.COMPLETE)
    task, pipeline = groups.task("search"), groups.pipeline("full", "train", "tune")
    groups.end(groups.trial(task, 0), State.ERROR, FailureReason.COMMAND_FAILED)
    groups.end(groups.run(pipeline, "train"), State.ERROR, FailureReason.COMMAND_FAILED)
    inner = groups.task("tune", node=groups.node(pipeline, "tune"))
    groups.end(groups.trial(inner, 0), State.ERROR, FailureReason.COMMAND_FAILED)
    told.tell()
    assert set(told.states(sha)) == {
        "pushmill/train",
        "pushmill/task search",
        "pushmill/pipeline full",
        "pushmill",
    }
    assert told.shown(sha)["pushmill/train"] == ("success", "accuracy 0.25 · 0.0 s")
    assert told.shown(sha)["pushmill"] == ("pending", "running 1 step, 1 task and 1 pipeline")


def test_the_newest_of_a_name_counts_and_what_was_begun_by_hand_does_not(told: ToldForge) -> None:
    groups = pushed(told)
    sha = groups.commit.identifier
    groups.move(groups.task("search"), State.ERROR)
    groups.move(groups.task("search"), State.COMPLETE)
    groups.move(groups.pipeline("full", "a"), State.ERROR)
    groups.move(groups.pipeline("full", "a"), State.COMPLETE)
    by_hand = replace(groups, push_id=None)
    by_hand.move(by_hand.task("search"), State.ERROR)
    by_hand.move(by_hand.pipeline("other", "a"), State.ERROR)
    told.tell()
    assert set(told.states(sha).values()) == {"success"}
    assert len(told.states(sha)) == 3
    links = [status["url"] for status in told.forge.statuses]
    assert {f"{URL}/p/model/tasks/2/", f"{URL}/p/model/pipelines/2/"} < set(links)


def test_a_task_of_many_executions_says_the_same_for_long(told: ToldForge) -> None:
    """GitHub takes 1,000 statuses of a name on one commit."""
    groups = pushed(told)
    task = groups.task("search", 40)
    said = []
    for place in range(40):
        groups.end(groups.trial(task, place), accuracy=place / 100)
        groups.move(task, State.STARTED)
        said.append(lines(told, groups)["pushmill/task search"])
    assert len(set(said)) == STAGES + 1
    assert said[0] == "fewer than 4 of 40 finished"
    assert said[14] == "12+ of 40 finished · best accuracy 0.11 (#12)"
    assert said[-1] == "40 of 40 finished · best accuracy 0.39 (#40)"


def test_the_best_is_the_one_that_the_task_asks_for(told: ToldForge) -> None:
    groups = pushed(told)
    declared = {"optimization-target-metric": "size", "optimization-target-value": 3}
    task = groups.task("search", 3, **declared)
    for place, size in enumerate((1, 2, 9)):
        groups.end(groups.trial(task, place), size=size, accuracy=0.1 * place)
    groups.end(groups.trial(task, 3), State.ERROR, FailureReason.COMMAND_FAILED, size=3)
    groups.move(task, State.COMPLETE)
    assert lines(told, groups)["pushmill/task search"].startswith("4 executions, 1 failed · best size 2 (#2)")


def test_between_two_executions_a_task_is_at_work(told: ToldForge, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has ended altogether is told at once; while its task goes on, an execution that ends is told with others."""
    groups = pushed(told)
    task = groups.task("search")
    groups.move(task, State.STARTED)
    told.tell()
    monkeypatch.setitem(outbox.GAP_S, outbox.OutboxKind.STATUS, 3600.0)
    groups.end(groups.trial(task, 0))
    enqueue.enqueue_changes(told.db)
    line = told.line(groups.commit.identifier)
    assert line["due_at"] > clock.add_to_now(1800)
    groups.move(task, State.COMPLETE)
    line = told.line(groups.commit.identifier)
    assert line["due_at"] <= clock.now()


@pytest.mark.parametrize("kind", ["task", "pipeline"])
def test_a_restart_compares_groups_of_which_nothing_runs(told: ToldForge, kind: str) -> None:
    """As one that waits for an approval since days, or one whose end was marked by nobody."""
    groups = pushed(told)
    group = groups.task("search") if kind == "task" else groups.pipeline("full", "a")
    told.tell()
    execute(told.db, "UPDATE push SET created_at = '2020-01-01T00:00:00.000000Z'")
    execute(told.db, "DELETE FROM outbox")
    enqueue.enqueue_recent(told.db)
    assert told.due() == 1
    groups.move(group, State.STOPPED)
    execute(told.db, "DELETE FROM outbox")
    enqueue.enqueue_recent(told.db)
    told.tell()
    assert told.states(groups.commit.identifier)[f"pushmill/{kind} {group.name}"] == "error"


def test_a_commit_that_no_event_brought_marks_nothing(told: ToldForge) -> None:
    groups = pushed(told, by_hand=True)
    execute(told.db, "UPDATE push SET commit_id = NULL")
    execute(told.db, "DELETE FROM outbox")
    groups.move(groups.task("search"), State.COMPLETE)
    assert fetch_rows(told.db, "SELECT * FROM outbox") == []


@each
def test_hostile_names_of_tasks_and_pipelines_are_told_within_limits(told: ToldForge) -> None:
    groups = pushed(told)
    names = ("x" * 300, "a\n\x1b[31mb\u202e", "search", "Search")
    for name in names:
        groups.move(groups.task(name), State.ERROR, "@all\n\x1b[31m" + "x" * 500)
        groups.move(groups.pipeline(name, "a" * 300), State.ERROR, "y\u202e" * 500)
    told.tell()
    shown = told.shown(groups.commit.identifier)
    assert {call.answered for call in told.forge.posts()} == {201}
    assert len({name.casefold() for name in shown}) == 2 * len(names) + 1
    assert all(description.isprintable() for _, description in shown.values())


DECLARED = """- step:
    name: train
    image: busybox
    command: run {parameters}
    parameters:
      - {name: rate, type: float, default: 0.1}
- task:
    name: search
    step: train
    parameters:
      - {name: rate, style: multiple, rules: {items: [0.1, 0.2]}}
- pipeline:
    name: full
    nodes:
      - {name: train, type: execution, step: train}
      - {name: deploy, type: execution, step: train, actions: [{when: node-starting, if: [], then: require-approval}]}
    edges:
      - [train.parameter.rate, deploy.parameter.rate]
"""


def test_whatever_moves_them_on_they_are_told(told: ToldForge) -> None:
    """By the services themselves: each of their moves marks the commit."""
    told.push(files={"valohai.yaml": DECLARED}, message="work [skip ci]")
    groups = of_last_push(told)
    db, sha = groups.db, groups.commit.identifier
    own = (groups.context, groups.project, groups.commit)
    with transaction(db):
        task_plan, pipeline_plan = (
            plan_task(groups.commit.config, "search"),
            plan_pipeline(groups.commit.config, "full"),
        )
        by_hand.launched(*own, task_plan, groups.user, push_id=groups.push_id)
        pipeline = by_hand.launched(*own, pipeline_plan, groups.user, push_id=groups.push_id)

    def sweep(*accuracies: float) -> dict[str, str]:
        """What the forge says after these executions, of those that there are, have ended and all was moved on."""
        pipelines.advance(told.server.context)
        tasks.advance(told.server.context)
        waiting = [one for one in told.server.executions("model") if one.state is State.CREATED]
        for execution, accuracy in zip(waiting, accuracies, strict=False):
            groups.end(execution, accuracy=accuracy)
        told.tell()  # what changes from here on is no execution's state
        pipelines.advance(told.server.context)
        tasks.advance(told.server.context)
        told.tell()
        return {name: said for name, (_, said) in told.shown(sha).items()}

    said = sweep()
    assert (said["pushmill/task search"], said["pushmill"]) == ("2 executions to run", "running 1 task and 1 pipeline")
    said = sweep(0.5, 0.75)  # the node, which was made first, and one of the task
    assert said["pushmill/pipeline full"] == "1 of 2 nodes finished · waiting for approval of deploy"
    assert said["pushmill/task search"] == "1 of 2 finished · best accuracy 0.75 (#2)"
    said = sweep(0.875)
    assert said["pushmill/task search"].startswith("2 executions · best accuracy 0.875 (#3) · ")
    with transaction(db):
        pipelines.request_stop(told.server.context, pipeline_store.get(db, pipeline.id), "ada")
    told.tell()
    said = sweep()
    assert said["pushmill/pipeline full"].startswith("stopped by ada")
    assert said["pushmill"] == "stopped: pipeline full"
    assert told.states(sha) == told.wanted(sha)


def test_a_change_that_is_rolled_back_marks_nothing(told: ToldForge) -> None:
    groups = pushed(told)
    pipeline = groups.pipeline("full", "a")
    wait_for(told.tick)
    told.tell()
    with pytest.raises(ZeroDivisionError), transaction(told.db):
        enqueue.enqueue_commit(told.db, groups.commit.id)
        raise ZeroDivisionError
    assert told.due() == 0
    assert pipeline_store.get(told.db, pipeline.id).state is State.CREATED
