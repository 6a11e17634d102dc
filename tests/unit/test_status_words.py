"""How our states look on a forge, under which names, and in which words."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.model import Execution
from core.states import FINAL, FailureReason, State
from hooks import statuses
from hooks.apis.base import Verdict
from hooks.apis.bitbucket import key
from hooks.apis.registry import APIS
from hooks.statuses import clamp, contexts, verdict, worst
from web.services.presentation import headline
from web.services.presentation.comment_text import code

NAMES = st.lists(st.text(min_size=1, max_size=300), min_size=1, max_size=6, unique=True)
INFRASTRUCTURE = {"image", "input", "output", "disk", "interrupted", "runner_lost", "internal"}


def execution(state: State = State.COMPLETE, **more: object) -> Execution:
    given: dict[str, object] = dict.fromkeys(Execution.__dataclass_fields__)
    started = {"started_at": "2026-11-25T10:00:00.000000Z", "ended_at": "2026-11-25T10:03:12.000000Z"}
    return Execution(**given | {"state": state, "created_at": "2026-11-25T09:59:00.000000Z"} | started | more)  # type: ignore[arg-type]


def test_no_state_and_no_failure_reason_is_missing() -> None:
    assert set(statuses.STATES) == set(State)
    assert set(statuses.FAILURES) == set(FailureReason)
    assert set(statuses.ORDER) == set(Verdict)


@pytest.mark.parametrize("forge", sorted(APIS))
def test_every_state_has_a_word_on_every_forge_and_what_is_over_never_waits(forge: str) -> None:
    words = APIS[forge].STATES
    unfinished = {words[Verdict.WAITING], words[Verdict.RUNNING]}
    for state in State:
        for reason in FailureReason if state is State.ERROR else [None]:
            assert (words[verdict(state, reason)] in unfinished) == (state not in FINAL)


def test_the_machines_fault_is_an_error_and_the_programs_a_failure() -> None:
    assert {reason for reason, shown in statuses.FAILURES.items() if shown is Verdict.ERROR} == INFRASTRUCTURE
    assert set(statuses.FAILURES.values()) == {Verdict.ERROR, Verdict.FAILURE}


def test_the_worst_step_decides_for_all() -> None:
    running, waiting, success = Verdict.RUNNING, Verdict.WAITING, Verdict.SUCCESS
    assert worst([]) is success
    assert worst([success, success]) is success
    assert worst([success, waiting]) is running
    assert worst([waiting, waiting]) is waiting
    assert worst([running, success, Verdict.STOPPED]) is Verdict.STOPPED
    assert worst([running, Verdict.FAILURE, Verdict.STOPPED]) is Verdict.FAILURE
    assert worst([Verdict.FAILURE, Verdict.ERROR, running]) is Verdict.ERROR


def test_a_plain_name_is_its_context_with_blanks_commas_and_other_scripts() -> None:
    for name in ("train", "Train model, v2 (big)", "обучение", "学習", "größe"):
        assert contexts([name]) == {name: f"pushmill/{name}"}


def test_names_that_forges_would_take_for_one_are_kept_apart_and_the_first_keeps_its_own() -> None:
    found = contexts(["train", "Train", "TRAIN"])
    assert found["train"] == "pushmill/train"
    assert contexts(["train", "eval"])["train"] == contexts(["train", "Train"])["train"]
    assert len({context.casefold() for context in found.values()}) == 3


@given(NAMES)
def test_contexts_are_safe_and_unique_whatever_the_steps_are_called(names: list[str]) -> None:
    found = contexts(names)
    assert list(found) == names
    assert len({context.casefold() for context in found.values()}) == len(names)
    assert "pushmill" not in found.values()
    assert found == contexts(names)
    for context in found.values():
        assert len(context) <= 130
        assert context.isprintable()
        assert context == context.strip()
        assert len(key(context)) <= 40
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
    assert headline.metric(latest) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (execution(), "accuracy 0.942 · 3 m 12 s"),
        (execution(State.CREATED, started_at=None, ended_at=None), "waits for its turn"),
        (execution(State.QUEUED, started_at=None, ended_at=None), "waits for a runner"),
        (execution(State.STARTED, ended_at=None), "running since 2026-11-25 10:00 UTC"),
        (
            execution(
                State.ERROR, failure_reason=FailureReason.COMMAND_FAILED, failure_message="Command 2 exited with 1"
            ),
            "A command failed: Command 2 exited with 1 · 3 m 12 s",
        ),
        (execution(State.STOPPED, started_at=None), "stopped by ada"),
        (execution(State.STOPPED), "stopped by ada · 3 m 12 s"),
    ],
)
def test_an_execution_in_one_line(given: Execution, expected: str) -> None:
    assert headline.line(given, {"accuracy": 0.942, "loss": 1}, "ada") == expected


def test_every_state_has_words() -> None:
    for state in State:
        assert headline.line(dataclasses.replace(execution(), state=state), {})


@given(st.text(max_size=200))
def test_text_of_users_stays_in_its_code_and_its_cell(text: str) -> None:
    shown = code(text)
    assert "|" not in shown
    assert "\n" not in shown
    assert shown == "-" or (shown[0] == shown[-1] == "`" and shown.count("`") == 2)
