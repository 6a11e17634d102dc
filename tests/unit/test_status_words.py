"""Names, states and descriptions of statuses on forges."""

from __future__ import annotations

import dataclasses
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.groups import Pipeline, Task
from core.model import Execution, Target, TargetKind
from core.states import FINAL, FailureReason, State
from core.transitions import GROUP_TRANSITIONS
from hooks import statuses
from hooks.apis.base import CommitState
from hooks.apis.bitbucket import shorten_context
from hooks.apis.registry import APIS
from hooks.statuses import assign_contexts, choose_execution_state, choose_group_state, clamp, combine_states
from web.services.presentation import headline
from web.services.presentation.comment_text import format_inline_code

NAMES = st.text(min_size=1, max_size=300)
TARGETS = st.lists(st.builds(Target, kind=st.sampled_from(TargetKind), name=NAMES), min_size=1, max_size=6, unique=True)
INFRASTRUCTURE = {"environment", "image", "input", "output", "disk", "interrupted", "runner_lost", "internal"}


def execution(state: State = State.COMPLETE, **more: object) -> Execution:
    given: dict[str, object] = dict.fromkeys(Execution.__dataclass_fields__)
    started = {"started_at": "2026-11-25T10:00:00.000000Z", "ended_at": "2026-11-25T10:03:12.000000Z"}
    return Execution(**given | {"state": state, "created_at": "2026-11-25T09:59:00.000000Z"} | started | more)  # type: ignore[arg-type]


def step(name: str) -> Target:
    return Target(name=name)


def test_no_state_and_no_failure_reason_is_missing() -> None:
    assert set(statuses.STATES) == set(State)
    assert set(statuses.FAILURES) == set(FailureReason)
    assert set(statuses.ORDER) == set(CommitState)


@pytest.mark.parametrize("forge", sorted(APIS))
def test_every_state_has_a_word_on_every_forge_and_what_is_over_never_waits(forge: str) -> None:
    words = APIS[forge].STATES
    unfinished = {words[CommitState.WAITING], words[CommitState.RUNNING]}
    for state in State:
        for reason in FailureReason if state is State.ERROR else [None]:
            assert (words[choose_execution_state(state, reason)] in unfinished) == (state not in FINAL)


def test_the_machines_fault_is_an_error_and_the_programs_a_failure() -> None:
    assert {reason for reason, shown in statuses.FAILURES.items() if shown is CommitState.ERROR} == INFRASTRUCTURE
    assert set(statuses.FAILURES.values()) == {CommitState.ERROR, CommitState.FAILURE}


def test_the_worst_step_decides_for_all() -> None:
    running, waiting, success = CommitState.RUNNING, CommitState.WAITING, CommitState.SUCCESS
    assert combine_states([]) is success
    assert combine_states([success, success]) is success
    assert combine_states([success, waiting]) is running
    assert combine_states([waiting, waiting]) is waiting
    assert combine_states([running, success, CommitState.STOPPED]) is CommitState.STOPPED
    assert combine_states([running, CommitState.FAILURE, CommitState.STOPPED]) is CommitState.FAILURE
    assert combine_states([CommitState.FAILURE, CommitState.ERROR, running]) is CommitState.ERROR


@pytest.mark.parametrize("state", sorted({*chain(*GROUP_TRANSITIONS)}))
def test_a_group_is_over_on_the_forge_when_it_is_over_here(state: State) -> None:
    over = choose_group_state(state, ()) not in (CommitState.WAITING, CommitState.RUNNING)
    assert over == (state in FINAL)


def test_the_machines_are_to_blame_for_a_group_of_which_nothing_failed_otherwise() -> None:
    lost, wrong = FailureReason.RUNNER_LOST, FailureReason.COMMAND_FAILED
    assert choose_group_state(State.ERROR, [lost, FailureReason.DISK]) is CommitState.ERROR
    assert choose_group_state(State.ERROR, [lost, wrong]) is CommitState.FAILURE
    assert choose_group_state(State.ERROR, []) is CommitState.FAILURE  # it could not go on
    assert choose_group_state(State.COMPLETE, [lost, wrong]) is CommitState.SUCCESS


def test_a_plain_name_is_its_context_with_blanks_commas_and_other_scripts() -> None:
    for name in ("train", "Train model, v2 (big)", "обучение", "学習", "größe"):
        assert assign_contexts([step(name)]) == {step(name): f"pushmill/{name}"}


def test_a_task_and_a_pipeline_say_so_in_their_contexts() -> None:
    search, full = Target(kind=TargetKind.TASK, name="lr-search"), Target(kind=TargetKind.PIPELINE, name="full")
    assert assign_contexts([search, full]) == {search: "pushmill/task lr-search", full: "pushmill/pipeline full"}


@pytest.mark.parametrize("name", ["search", "x" * 300, " search"])
def test_a_step_that_is_named_as_a_task_is_shown_keeps_apart_from_it(name: str) -> None:
    task = Target(kind=TargetKind.TASK, name=name)
    found = assign_contexts([step(task.label), task])
    assert len({context.casefold() for context in found.values()}) == 2
    assert found[step(task.label)] == assign_contexts([step(task.label)])[step(task.label)]


def test_names_that_forges_would_take_for_one_are_kept_apart_and_the_first_keeps_its_own() -> None:
    found = assign_contexts(map(step, ("train", "Train", "TRAIN")))
    assert found[step("train")] == "pushmill/train"
    assert len({context.casefold() for context in found.values()}) == 3


@given(TARGETS)
def test_contexts_are_safe_and_unique_whatever_the_targets_are_called(targets: list[Target]) -> None:
    found = assign_contexts(targets)
    assert list(found) == targets
    assert len({context.casefold() for context in found.values()}) == len(targets)
    assert "pushmill" not in found.values()
    assert found == assign_contexts(targets)
    for context in found.values():
        assert len(context) <= 130
        assert context.isprintable()
        assert context == context.strip()
        assert len(shorten_context(context)) <= 40
        context.encode()


@given(st.text(max_size=400), st.sampled_from([140, 255]))
def test_descriptions_are_one_line_that_fits(text: str, most: int) -> None:
    clamped = clamp(text, most)
    assert len(clamped) <= most
    assert clamped.isprintable()


@pytest.mark.parametrize(
    ("latest", "expected"),
    [
        ({"epoch": 3, "loss": 0.1, "accuracy": 0.94213}, "accuracy 0.9421"),
        ({"train_acc": 0.9, "val_acc": 0.8, "test_acc": 0.7}, "test_acc 0.7"),
        ({"lr": 0.1, "trainLoss": 0.25}, "trainLoss 0.25"),
        ({"epoch": 3, "tokens": 12}, "tokens 12"),
        ({"epoch": 3}, "epoch 3"),
        ({"note": "x", "accuracy": "high", "f1": 0.5}, "f1 0.5"),
        ({"accuracy": True, "loss": 1}, "loss 1"),
        ({"mAP50": 0.5, "loss": 1}, "mAP50 0.5"),
        ({"valLoss": 0.5, "loss": 1}, "valLoss 0.5"),
        ({}, ""),
        ({"note": "only text"}, ""),
    ],
)
def test_the_headline_is_the_most_telling_number(latest: dict[str, object], expected: str) -> None:
    assert headline.format_main_metric(latest) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (execution(), "accuracy 0.942 · 3 m 12 s"),
        (execution(State.CREATED, started_at=None, ended_at=None), "waiting (limit)"),
        (execution(State.QUEUED, started_at=None, ended_at=None), "queued"),
        (execution(State.STARTED, ended_at=None), "running since 2026-11-25 10:00 UTC"),
        (
            execution(
                State.ERROR, failure_reason=FailureReason.COMMAND_FAILED, failure_message="Command 2 exited with 1"
            ),
            "Command failed: Command 2 exited with 1 · 3 m 12 s",
        ),
        (execution(State.STOPPED, started_at=None), "stopped by ada"),
        (execution(State.STOPPED), "stopped by ada · 3 m 12 s"),
    ],
)
def test_an_execution_in_one_line(given: Execution, expected: str) -> None:
    assert headline.summarize_execution(given, {"accuracy": 0.942, "loss": 1}, "ada") == expected


def test_every_state_has_words() -> None:
    for state in State:
        assert headline.summarize_execution(dataclasses.replace(execution(), state=state), {})


TASK = Task(**dict.fromkeys(Task.__dataclass_fields__) | {"planned": 3, "message": ""})  # type: ignore[arg-type]
PIPELINE = Pipeline(**dict.fromkeys(Pipeline.__dataclass_fields__) | {"message": ""})  # type: ignore[arg-type]
RAN = {"started_at": "2026-11-25T10:00:00.000000Z", "ended_at": "2026-11-25T10:14:00.000000Z"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"state": State.CREATED}, "3 executions to run"),
        ({"state": State.CREATED, "planned": 1}, "1 execution to run"),
        ({"state": State.STARTED}, "2 of 3 finished · best loss 0.1 (#7)"),
        ({"state": State.COMPLETE}, "2 executions, 1 failed · best loss 0.1 (#7) · 14 m"),
        (
            {"state": State.COMPLETE, "message": "stop condition met by #7"},
            "stop condition met by #7 · best loss 0.1 (#7) · 14 m",
        ),
        ({"state": State.ERROR}, "1 of 2 executions failed · best loss 0.1 (#7) · 14 m"),
        ({"state": State.ERROR, "message": "#6 ended in error"}, "#6 ended in error · best loss 0.1 (#7) · 14 m"),
        ({"state": State.STOPPED, "message": "stopped by ada"}, "stopped by ada · best loss 0.1 (#7) · 14 m"),
        ({"state": State.STOPPED}, "stopped · best loss 0.1 (#7) · 14 m"),
    ],
)
def test_a_task_in_one_line(given: dict[str, object], expected: str) -> None:
    task = dataclasses.replace(TASK, **RAN | given)  # type: ignore[arg-type]
    assert headline.summarize_task(task, 2, 1, "loss 0.1 (#7)") == expected


@pytest.mark.parametrize(
    ("given", "waiting", "expected"),
    [
        ({"state": State.CREATED}, [], "3 nodes to run"),
        ({"state": State.CREATED}, ["a", "b"], "2 of 3 nodes finished · waiting for approval of a, b"),
        ({"state": State.STARTED}, [], "2 of 3 nodes finished"),
        ({"state": State.COMPLETE}, [], "3 nodes, 1 failed · 14 m"),
        ({"state": State.ERROR}, [], "1 of 3 nodes failed · 14 m"),
        ({"state": State.ERROR, "message": "train failed: #6"}, [], "train failed: #6 · 14 m"),
        ({"state": State.STOPPED, "message": "deploy said stop-pipeline"}, [], "deploy said stop-pipeline · 14 m"),
    ],
)
def test_a_pipeline_in_one_line(given: dict[str, object], waiting: list[str], expected: str) -> None:
    pipeline = dataclasses.replace(PIPELINE, **RAN | given)  # type: ignore[arg-type]
    assert headline.summarize_pipeline(pipeline, 3, 2, 1, waiting) == expected


@pytest.mark.parametrize("state", sorted({*chain(*GROUP_TRANSITIONS)}))
def test_every_state_of_a_group_has_words(state: State) -> None:
    assert headline.summarize_task(dataclasses.replace(TASK, state=state), 0, 0, "")
    assert headline.summarize_pipeline(dataclasses.replace(PIPELINE, state=state), 0, 0, 0, [])


@pytest.mark.parametrize("planned", [1, 10, 11, 12, 13, 19, 100, 999, 1000])
def test_how_far_many_are_is_said_in_few_steps_and_never_too_much(planned: int) -> None:
    said = [headline.format_progress(ended, planned) for ended in range(planned + 1)]
    assert len(set(said)) <= headline.STAGES + 1
    assert said[-1].startswith((f"{planned} of", f"{headline.round_to_stage(planned, planned)}+ of"))
    for ended, text in enumerate(said):
        if text.startswith("fewer than "):
            assert ended < int(text.split()[2])
        else:
            assert int(text.split("+")[0].split()[0]) <= ended
            assert "+" in text or text == f"{ended} of {planned} finished"


@given(st.text(max_size=200))
def test_text_of_users_stays_in_its_code_and_its_cell(text: str) -> None:
    shown = format_inline_code(text)
    assert "|" not in shown
    assert "\n" not in shown
    assert shown == "-" or (shown[0] == shown[-1] == "`" and shown.count("`") == 2)
