"""The result of a push, a delivery or a commit in one sentence: its runs, or why nothing ran.

Pages and the reply to `git push` show the same sentence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from core.model import Commit, TargetKind
from core.states import State
from core.text import join_words
from web.store.deliveries import Delivery, DeliveryState
from web.store.launched import RunCount
from web.store.pushes import Push, PushResult

NOUNS = {TargetKind.STEP: "execution", TargetKind.TASK: "task", TargetKind.PIPELINE: "pipeline"}
WORDS = {State.STARTED: "running", State.COMPLETE: "succeeded", State.ERROR: "failed", State.STOPPED: "stopped"}
NAMED = 3  # failed or skipped targets that are named


class Tone(StrEnum):
    """How a verdict looks."""

    GOOD = "good"
    RUNNING = "running"
    WAITING = "waiting"
    FAILED = "failed"  # something must be fixed
    IGNORED = "ignored"  # nothing ran, as configured


@dataclass(frozen=True, kw_only=True)
class Verdict:
    text: str
    tone: Tone


def judge_push(push: Push, commit: Commit | None, runs: Sequence[RunCount], *, waits: bool = False) -> Verdict:
    """Return the verdict on a push; `runs` are the standalone runs that it launched. `waits`: for approval, still."""
    if runs:
        return _of_runs(runs, push.skipped)
    if commit is not None and (why := _configuration_problem(commit)):
        return why
    if push.result is PushResult.WAITING:
        return (
            Verdict(text=push.outcome, tone=Tone.WAITING) if waits else Verdict(text="not approved", tone=Tone.IGNORED)
        )
    if push.skipped and push.result is PushResult.NOTHING:
        text = f"nothing ran: {_named([f'skipped {label}: {reason}' for label, reason in push.skipped], '; ')}"
        return Verdict(text=text, tone=Tone.FAILED if push.problems else Tone.IGNORED)
    if push.result is PushResult.LAUNCHED:
        return Verdict(text=f"{push.outcome}, deleted since", tone=Tone.IGNORED)
    wrong = push.problems or push.result in (PushResult.DELETED, PushResult.FAILED)
    return Verdict(text=push.outcome or "nothing ran", tone=Tone.FAILED if wrong else Tone.IGNORED)


def judge_commit(commit: Commit, runs: Sequence[RunCount]) -> Verdict:
    """Return the verdict on a commit that was never pushed."""
    return _of_runs(runs, ()) if runs else _configuration_problem(commit) or Verdict(text="no runs", tone=Tone.IGNORED)


def judge_delivery(delivery: Delivery) -> Verdict:
    """Return the verdict on a delivery that has no pushes."""
    match delivery.state:
        case DeliveryState.STORED if delivery.message:
            return Verdict(text=delivery.message, tone=Tone.FAILED)
        case DeliveryState.STORED:
            return Verdict(text="received, not processed yet", tone=Tone.RUNNING)
        case DeliveryState.REFUSED:
            return Verdict(text=f"rejected: {delivery.message}", tone=Tone.FAILED)
        case DeliveryState.FAILED:
            return Verdict(text=delivery.message, tone=Tone.FAILED)
        case _:
            return Verdict(text=delivery.message or "nothing ran", tone=Tone.IGNORED)


def format_run_counts(kinds: Iterable[TargetKind]) -> str:
    """Count runs by kind, such as "2 executions, 1 task and 1 pipeline"; `kinds` may be a Counter."""
    counts = Counter(kinds)
    return join_words([f"{n} {noun}{'' if n == 1 else 's'}" for kind, noun in NOUNS.items() if (n := counts[kind])])


def _of_runs(runs: Sequence[RunCount], skipped: Sequence[tuple[str, str]]) -> Verdict:
    """Count runs by state, such as "3 executions, 1 running, 1 failed: train"."""
    kinds, states = Counter[TargetKind](), Counter[str]()
    for run in runs:
        kinds[run.target.kind] += run.count
        states[WORDS.get(run.state, "waiting")] += run.count
    failed = list(dict.fromkeys(run.target.name for run in runs if run.state is State.ERROR))
    if len(states) == 1 and not failed:
        text = f"{format_run_counts(kinds)} {next(iter(states))}"
    else:
        words = ("running", "waiting", "stopped") if failed else ("running", "waiting", "stopped", "succeeded")
        parts = [f"{states[word]} {word}" for word in words if states[word]]
        if failed:
            parts.append(f"{states['failed']} failed: {_named(failed)}")
        text = ", ".join((format_run_counts(kinds), *parts))
    if skipped:
        text += f"; skipped: {_named([label for label, _ in skipped])}"
    return Verdict(text=text, tone=_tone(states))


def _tone(states: Counter[str]) -> Tone:
    if states["failed"]:
        return Tone.FAILED
    if states["running"] or states["waiting"]:
        return Tone.RUNNING
    return Tone.IGNORED if states["stopped"] else Tone.GOOD


def _configuration_problem(commit: Commit) -> Verdict | None:
    if commit.config_state == "missing":
        return Verdict(text=commit.problems[0], tone=Tone.IGNORED)
    if commit.config_state == "broken":
        return Verdict(text=explain_invalid_configuration(commit.yaml_path, commit.problems), tone=Tone.FAILED)
    return None


def explain_invalid_configuration(yaml_path: str, problems: Sequence[str]) -> str:
    """Say where a configuration is not valid, such as "valohai.yaml line 4: unknown key 'comand'"."""
    first = problems[0] if problems else "is not valid"
    if first.startswith("line "):
        text = f"{yaml_path} {first}"
    else:
        text = first if "valohai.yaml" in first else f"{yaml_path} is not valid: {first}"
    return text[:500] + (f" (and {len(problems) - 1} more)" if problems[1:] else "")


def _named(names: Sequence[str], separator: str = ", ") -> str:
    more = f"{separator}and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return separator.join(names[:NAMED]) + more
