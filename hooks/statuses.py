"""Map our states to the verdicts that forges show, and name statuses so that branch protection can rely on them."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Collection, Iterable, Mapping

from core.model import Target
from core.states import FailureReason, State
from core.text import printable
from hooks.apis.base import Verdict

CONTEXT = "pushmill"  # of all targets of a commit together; the context of each target starts with it
NAME_CHARS = 100  # of a target in a context; longer names are cut
DIGEST_CHARS = 8
LAST_OF_PLANE_0 = 0xFFFF  # some forges' databases cannot store characters beyond it

STATES: Mapping[State, Verdict] = {
    State.CREATED: Verdict.WAITING,
    State.QUEUED: Verdict.WAITING,
    State.STARTED: Verdict.RUNNING,  # also during a stop request
    State.COMPLETE: Verdict.SUCCESS,
    State.ERROR: Verdict.ERROR,  # unless FAILURES has a more specific verdict
    State.STOPPED: Verdict.STOPPED,
}
FAILURES: Mapping[FailureReason, Verdict] = {
    FailureReason.COMMAND_FAILED: Verdict.FAILURE,
    FailureReason.OUT_OF_MEMORY: Verdict.FAILURE,
    FailureReason.TIME_LIMIT: Verdict.FAILURE,
    FailureReason.NO_OUTPUT: Verdict.FAILURE,
    FailureReason.PIDS: Verdict.FAILURE,
    FailureReason.ENVIRONMENT: Verdict.ERROR,
    FailureReason.IMAGE: Verdict.ERROR,
    FailureReason.INPUT: Verdict.ERROR,
    FailureReason.OUTPUT: Verdict.ERROR,
    FailureReason.DISK: Verdict.ERROR,
    FailureReason.INTERRUPTED: Verdict.ERROR,
    FailureReason.RUNNER_LOST: Verdict.ERROR,
    FailureReason.INTERNAL: Verdict.ERROR,
}
# Worst first. One failure decides even while others run.
ORDER = (Verdict.ERROR, Verdict.FAILURE, Verdict.STOPPED, Verdict.RUNNING, Verdict.WAITING, Verdict.SUCCESS)


def verdict(state: State, failure_reason: FailureReason | None) -> Verdict:
    """Return the verdict of an execution. A stop request changes nothing: the execution runs until it has stopped."""
    return FAILURES[failure_reason] if failure_reason is not None else STATES[state]


def group_verdict(state: State, failures: Collection[FailureReason]) -> Verdict:
    """Return the verdict of a task or a pipeline whose executions failed for these reasons.

    It is ERROR if the machines caused every failure.
    """
    if state is not State.ERROR:
        return STATES[state]
    by_machines = failures and all(FAILURES[reason] is Verdict.ERROR for reason in failures)
    return Verdict.ERROR if by_machines else Verdict.FAILURE


def worst_verdict(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the verdict of several targets together; without targets it is a success.

    If some wait and others have succeeded, the commit is running.
    """
    found = set(verdicts)
    if found == {Verdict.WAITING, Verdict.SUCCESS}:
        return Verdict.RUNNING
    return next((one for one in ORDER if one in found), Verdict.SUCCESS)


def assign_contexts(targets: Iterable[Target], prefix: str = CONTEXT) -> dict[Target, str]:
    """Return the context of each target of a commit; it stays the same as long as the preceding targets do.

    Forges ignore case. Of labels that differ only in case the first is unchanged; the others, and labels that are cut
    or changed, end in a digest of kind and name.
    """
    found: dict[Target, str] = {}
    taken: set[str] = set()
    for target in dict.fromkeys(targets):
        name = _plain(target.label)
        if name != target.label or _folded(name) in taken:
            name = f"{name} {_digest(target)}".lstrip()
        taken.add(_folded(name))
        found[target] = f"{prefix}/{name}"
    return found


def clamp(text: str, most: int) -> str:
    """Return the text as one line of at most `most` characters."""
    text = " ".join(printable(text, " ").split())
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"


def _digest(target: Target) -> str:
    said = f"{target.kind} {target.name}".encode("utf-8", "replace")
    return hashlib.sha1(said, usedforsecurity=False).hexdigest()[:DIGEST_CHARS]


def _plain(label: str) -> str:
    kept = (c if ord(c) <= LAST_OF_PLANE_0 else " " for c in printable(unicodedata.normalize("NFC", label), " "))
    return " ".join("".join(kept).split())[:NAME_CHARS].rstrip()


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold()
