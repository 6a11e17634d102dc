"""Tasks and pipelines in the comment on a pull request: a row each, with the metrics that a reviewer needs."""

from __future__ import annotations

import re

import pytest
from instance import wait_for
from made_groups import Groups
from test_pull_request_comments import HOSTILE, Pull
from told_forge import URL, ToldForge

from core import clock
from core.groups import Pipeline, Task
from core.states import FailureReason, State
from web.services.presentation import comment_text
from web.store import outbox, projects, users
from web.store.db import execute

STEP = """- step:
    name: train
    image: busybox
    command: run {parameters}
    parameters:
      - {name: rate, type: float, default: 0.1}
      - {name: depth, type: integer, default: 3}
"""
PAGE = f"{URL}/p/model"


@pytest.fixture
def pull(told: ToldForge) -> Pull:
    return Pull(told)


def pushed(pull: Pull, branch: str = "work") -> Groups:
    """A commit of the step `train` on a branch, of which nothing runs by itself."""
    told = pull.told
    sha = told.push(files={"valohai.yaml": STEP, "branch": branch}, message="work [skip ci]", ref=branch)
    if branch == "work":
        pull.push("train")  # makes the pull request
        told.move("train", State.STOPPED)
        execute(told.db, "UPDATE pull_request SET sha = ?", (sha,))
    commit = told.server.commit("model", sha)
    push_id = next(push.id for push in told.server.pushes("model") if push.commit_id == commit.id)
    project = projects.get_by_name(told.db, "model")
    user = users.get(told.db, 1)
    return Groups(db=told.db, context=told.server.context, project=project, commit=commit, user=user, push_id=push_id)


def searched(groups: Groups, *accuracies: float | None, state: State = State.COMPLETE) -> Task:
    """A task whose executions finished with these, or failed."""
    task = groups.task("search", len(accuracies))
    for place, accuracy in enumerate(accuracies):
        trial = groups.trial(task, place, {"rate": place / 10, "depth": 3})
        if accuracy is None:
            groups.end(trial, State.ERROR, FailureReason.COMMAND_FAILED)
        else:
            groups.end(trial, accuracy=accuracy)
    groups.move(task, state)
    return task


def ran(groups: Groups, state: State = State.COMPLETE, **accuracies: float | None) -> Pipeline:
    """A pipeline of nodes that have printed these."""
    pipeline = groups.pipeline("full", *accuracies)
    for name, accuracy in accuracies.items():
        groups.end(groups.run(pipeline, name), **({} if accuracy is None else {"accuracy": accuracy}))
        groups.move(groups.node(pipeline, name), State.COMPLETE)
    groups.move(pipeline, state)
    return pipeline


def cells(pull: Pull, label: str) -> list[str]:
    """The row of a task or a pipeline in the comment."""
    pull.told.tell()
    (comment,) = pull.comments
    (found,) = [line for line in comment.split("\n") if line.startswith(f"| [`{label}`")]
    return [cell.strip() for cell in found.strip("|").split("|")]


def test_a_task_has_a_row_of_its_best_execution_beside_the_best_on_the_base_branch(pull: Pull) -> None:
    searched(pushed(pull, "main"), 0.5, 0.8)
    searched(pushed(pull), 0.3, 0.942, 0.2)
    link, state, parameters, metrics, time = cells(pull, "task search")
    assert link == f"[`task search` !2]({PAGE}/tasks/2/)"
    assert (state, parameters, time) == ("✓ Succeeded", "", "14 m")
    assert metrics == f"best [#6]({PAGE}/executions/6/): `accuracy` 0.942 (+0.142)"


def test_the_parameters_of_the_best_that_differ_from_the_defaults_are_told(pull: Pull) -> None:
    searched(pushed(pull), 0.3, 0.2, 0.942)
    assert cells(pull, "task search")[2] == "`rate = 0.2`"


def test_without_such_a_task_the_base_is_the_newest_execution_of_the_step_that_is_no_trial(pull: Pull) -> None:
    base = pushed(pull, "main")
    searched(base, 0.1, state=State.ERROR)  # not complete, and its execution is none to compare with
    searched(pushed(pull), 0.95)
    assert cells(pull, "task search")[3].endswith("`accuracy` 0.95 (+0.05)")  # `train` has had 0.9 on main


def test_a_single_execution_is_not_compared_with_a_trial(pull: Pull) -> None:
    searched(pushed(pull, "main"), 0.1)
    pull.push("train")
    pull.told.printed("train", accuracy=0.95)
    pull.told.move("train", State.COMPLETE)
    assert cells(pull, "train")[3].endswith("`accuracy` 0.95 (+0.05)")


def test_a_pipeline_has_a_row_of_the_last_node_with_metrics_beside_the_same_node_on_the_base_branch(
    pull: Pull,
) -> None:
    ran(pushed(pull, "main"), prepare=None, eval=0.5, report=0.1)
    ran(pushed(pull), prepare=0.7, eval=0.75, report=None)
    link, state, parameters, metrics, time = cells(pull, "pipeline full")
    assert link == f"[`pipeline full` =2]({PAGE}/pipelines/2/)"
    assert (state, parameters, time) == ("✓ Succeeded", "", "14 m")
    assert metrics == f"`eval` [#7]({PAGE}/executions/7/): `accuracy` 0.75 (+0.25)"


def test_the_last_node_is_the_one_that_began_last_wherever_it_stands_in_the_file(pull: Pull) -> None:
    groups = pushed(pull)
    pipeline = groups.pipeline("full", "eval", "train")
    for name, accuracy in (("train", 0.1), ("eval", 0.95)):
        groups.end(groups.run(pipeline, name), accuracy=accuracy)
        groups.move(groups.node(pipeline, name), State.COMPLETE)
    assert cells(pull, "pipeline full")[3].startswith("`eval` [#4]")


def test_a_node_that_is_a_task_stands_with_its_best_execution(pull: Pull) -> None:
    groups = pushed(pull)
    pipeline = groups.pipeline("full", "tune", kind="task", parameters={"size": 3})
    task = groups.task("tune", 2, node=groups.node(pipeline, "tune"))
    groups.end(groups.trial(task, 0), accuracy=0.95)
    groups.end(groups.trial(task, 1), accuracy=0.1)
    groups.move(task, State.COMPLETE)
    groups.move(pipeline, State.COMPLETE)
    _, _, parameters, metrics, _ = cells(pull, "pipeline full")
    assert parameters == "`size = 3`"
    assert metrics == f"`tune` [#3]({PAGE}/executions/3/): `accuracy` 0.95 (+0.05)"


def test_how_far_they_are_stands_behind_the_state(pull: Pull) -> None:
    groups = pushed(pull)
    pipeline = groups.pipeline("full", "train", "deploy")
    task = groups.task("search", 2)
    groups.move(task, State.STARTED)
    groups.end(groups.trial(task, 0), State.ERROR, FailureReason.COMMAND_FAILED)
    groups.move(pipeline, State.STARTED)
    groups.move(groups.node(pipeline, "train"), State.COMPLETE)
    assert cells(pull, "task search")[1] == "▶ Running: 1 of 2 finished"
    assert cells(pull, "pipeline full")[1] == "▶ Running: 1 of 2 nodes finished"
    assert "2 running." in pull.comments[0]
    groups.move(groups.node(pipeline, "deploy"), State.CREATED, approval_asked_at=clock.now())
    groups.move(task, State.ERROR)
    assert cells(pull, "pipeline full")[1] == "▶ Running: waiting for approval of `deploy`"
    assert cells(pull, "task search")[1] == "✕ Failed: 1 of 1 failed"
    groups.move(groups.node(pipeline, "deploy"), State.ERROR)
    groups.move(pipeline, State.ERROR, "deploy failed: #4 exited with 1")
    assert cells(pull, "pipeline full")[1] == "✕ Failed: `deploy` failed"


def test_a_change_of_a_group_alone_is_told_in_the_comment(pull: Pull, monkeypatch: pytest.MonkeyPatch) -> None:
    groups = pushed(pull)
    pipeline = groups.pipeline("full", "train")
    pull.told.tell()
    monkeypatch.setitem(outbox.GAP_S, outbox.OutboxKind.STATUS, 3600.0)
    groups.move(pipeline, State.STOPPED)
    wait_for(lambda: pull.told.tick() and "1 stopped" in pull.comments[0])


def test_hostile_names_and_messages_are_harmless_markdown(pull: Pull) -> None:
    groups = pushed(pull)
    for name in HOSTILE:
        task, pipeline = groups.task(name, 1), groups.pipeline(name, *HOSTILE)
        groups.end(groups.trial(task, 0), **{name: 0.5})
        groups.end(groups.run(pipeline, name), **{name: 0.5})
        groups.move(groups.node(pipeline, name), State.ERROR)
        groups.move(task, State.ERROR, f"@channel | <script> {name}")
        groups.move(pipeline, State.ERROR, f"@channel | <script> {name}")
    other = groups.pipeline("other", "a")
    groups.move(other, State.ERROR, "@channel | <script>")
    waits = groups.pipeline("waits", *HOSTILE)
    for name in HOSTILE:
        groups.move(groups.node(waits, name), State.CREATED, approval_asked_at=clock.now())
    pull.told.tell()
    (comment,) = pull.comments
    table = [line for line in comment.split("\n") if line.startswith("|")]
    assert len(table) == 2 + 2 * len(HOSTILE) + 2
    assert {line.count("|") for line in table} == {6}
    outside = re.sub(r"`[^`]*`", "", comment)
    assert not re.search(r"@|<|\*\*x|javascript|/close|\u202e|script", outside)


def test_rows_of_groups_are_bounded_with_the_others(pull: Pull) -> None:
    groups = pushed(pull)
    for number in range(comment_text.ROWS):
        groups.task(f"search {number}")
    for number in range(5):
        groups.pipeline(f"full {number}", "a")
    pull.told.tell()
    (comment,) = pull.comments
    assert comment.count("| [`") == comment_text.ROWS
    assert "5 more on the [commit page]" in comment
    assert f"{comment_text.ROWS + 5} waiting." in comment
