"""One sentence about a push, a delivery or a commit: what ran, or why nothing ran."""

from __future__ import annotations

from typing import Any

import pytest

from core.model import Commit, EventKind, Target, TargetKind
from core.states import State
from web.services.presentation import verdict
from web.services.presentation.verdict import Tone
from web.store.deliveries import Delivery, DeliveryState
from web.store.launched import RunCount
from web.store.pushes import Push, PushResult

AT = "2026-01-01T00:00:00.000Z"


def push(outcome: str = "", result: PushResult = PushResult.NOTHING, **changes: Any) -> Push:
    values: dict[str, Any] = {
        "id": 1, "repository_id": 1, "kind": EventKind.PUSH, "ref": "refs/heads/main", "before": "0" * 40,
        "after": "1" * 40, "pusher": "ada", "message": "", "options": (), "delivery_id": 1, "commit_id": 1,
        "pull_request_id": None, "skipped": (), "problems": (), "again_of": None, "late": False, "created_at": AT,
    }  # fmt: skip
    return Push(outcome=outcome, result=result, **values | changes)


def commit(state: str = "ok", *problems: str) -> Commit:
    return Commit(
        id=1, project_id=1, repository_id=1, identifier="1" * 40, ref="main", ref_names=("main",), message="", author="",
        committed_at=AT, created_at=AT, yaml_path="ml/valohai.yaml", config_state=state, config=None, problems=problems,
    )  # fmt: skip


def delivery(state: DeliveryState, message: str = "") -> Delivery:
    return Delivery(
        repository_id=1, source="github", event="push", id=1, delivery_id="x", received_at=AT, state=state, message=message,
        handled_at=None, attempts=0, retry_at=None, signature="valid", again_of=None, pruned=False,
    )  # fmt: skip


def runs(kind: TargetKind = TargetKind.STEP, **counts: State) -> list[RunCount]:
    return [RunCount(target=Target(kind=kind, name=name), state=state) for name, state in counts.items()]


DONE, ERROR, RUNS, QUEUED = State.COMPLETE, State.ERROR, State.STARTED, State.QUEUED


@pytest.mark.parametrize(
    ("counts", "text", "tone"),
    [
        (runs(a=DONE, b=DONE), "2 executions succeeded", Tone.GOOD),
        (runs(a=DONE), "1 execution succeeded", Tone.GOOD),
        (runs(a=DONE, b=DONE, train=ERROR), "3 executions, 1 failed: train", Tone.FAILED),
        (runs(a=DONE, b=RUNS, c=QUEUED), "3 executions, 1 running, 1 waiting, 1 succeeded", Tone.RUNNING),
        (runs(a=State.STOPPED), "1 execution stopped", Tone.IGNORED),
        (runs(a=RUNS) + runs(TargetKind.TASK, b=ERROR), "1 execution and 1 task, 1 running, 1 failed: b", Tone.FAILED),
        (runs(a=ERROR, b=ERROR, c=ERROR, d=ERROR), "4 executions, 4 failed: a, b, c, and 1 more", Tone.FAILED),
    ],
)
def test_runs_are_counted_by_state_and_failed_ones_named(counts: list[RunCount], text: str, tone: Tone) -> None:
    said = verdict.judge_push(push("3 executions", PushResult.LAUNCHED), commit(), counts)
    assert (said.text, said.tone) == (text, tone)


def test_skipped_targets_are_named_beside_what_ran() -> None:
    said = verdict.judge_push(push(skipped=(("evaluate", "no model"),)), commit(), runs(train=DONE))
    assert said.text == "1 execution succeeded; skipped: evaluate"


@pytest.mark.parametrize(
    ("pushed", "of", "text", "tone"),
    [
        (
            push("configuration is not valid: …"),
            commit("broken", "line 4: unknown key 'comand', did you mean 'command'?", "line 9: x"),
            "ml/valohai.yaml line 4: unknown key 'comand', did you mean 'command'? (and 1 more)",
            Tone.FAILED,
        ),
        (push(), commit("broken", "it is too large"), "ml/valohai.yaml is not valid: it is too large", Tone.FAILED),
        (push(), commit("broken", "valohai.yaml is not UTF-8 text"), "valohai.yaml is not UTF-8 text", Tone.FAILED),
        (push(), commit("missing", "the commit has no x: nothing can run"), "the commit has no x: nothing can run", Tone.IGNORED),
        (push('no rule matched: "main" runs only for branch main'), commit(),
         'no rule matched: "main" runs only for branch main', Tone.IGNORED),
        (push("nothing runs: everything was skipped", skipped=(("train", "rate needs a value"),)), commit(),
         "nothing ran: skipped train: rate needs a value", Tone.IGNORED),
        (push("nothing runs: x", problems=("there is no step x",)), commit(), "nothing runs: x", Tone.FAILED),
        (push("waits for approval", PushResult.WAITING), commit(), "waits for approval", Tone.WAITING),
        (push("deleted", PushResult.NONE, commit_id=None), None, "deleted", Tone.IGNORED),
        (push("failed: no such commit", PushResult.FAILED, commit_id=None), None, "failed: no such commit", Tone.FAILED),
        (push("1 execution", PushResult.LAUNCHED), commit(), "1 execution, deleted since", Tone.IGNORED),
    ],
)  # fmt: skip
def test_a_push_that_ran_nothing_says_why(pushed: Push, of: Commit | None, text: str, tone: Tone) -> None:
    said = verdict.judge_push(pushed, of, (), waits=True)
    assert (said.text, said.tone) == (text, tone)


def test_a_push_whose_approval_is_no_longer_asked_for_does_not_wait() -> None:
    said = verdict.judge_push(push("waits for approval", PushResult.WAITING), commit(), ())
    assert (said.text, said.tone) == ("not approved", Tone.IGNORED)


@pytest.mark.parametrize(
    ("state", "message", "text", "tone"),
    [
        (DeliveryState.STORED, "", "received, not processed yet", Tone.RUNNING),
        (DeliveryState.STORED, "cannot fetch: permission denied", "cannot fetch: permission denied", Tone.FAILED),
        (DeliveryState.REFUSED, "the signature is not valid", "rejected: the signature is not valid", Tone.FAILED),
        (DeliveryState.FAILED, "no such commit", "no such commit", Tone.FAILED),
        (DeliveryState.IGNORED, "ping: the webhook works", "ping: the webhook works", Tone.IGNORED),
        (DeliveryState.DONE, "pull request 3: closed", "pull request 3: closed", Tone.IGNORED),
    ],
)
def test_a_delivery_without_pushes_says_what_it_led_to(
    state: DeliveryState, message: str, text: str, tone: Tone
) -> None:
    said = verdict.judge_delivery(delivery(state, message))
    assert (said.text, said.tone) == (text, tone)


def test_a_commit_that_was_never_pushed_has_the_verdict_of_its_runs() -> None:
    assert verdict.judge_commit(commit(), runs(train=DONE)).text == "1 execution succeeded"
    assert verdict.judge_commit(commit(), ()).text == "no runs"
    assert verdict.judge_commit(commit("broken", "line 2: x"), ()).text == "ml/valohai.yaml line 2: x"
