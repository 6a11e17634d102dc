"""How our states look on a commit of a forge: a total mapping, and names of statuses that branch protection can rely on."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Mapping

from core.states import FailureReason, State
from hooks.apis.base import Verdict

CONTEXT = "pushmill"  # of all of a commit's steps together; each step's is below it
NAME_CHARS = 100  # of a step in a context; a longer one is cut
DIGEST_CHARS = 8
LAST_OF_PLANE_0 = 0xFFFF  # some forges' databases hold no characters beyond

STATES: Mapping[State, Verdict] = {
    State.CREATED: Verdict.WAITING,
    State.QUEUED: Verdict.WAITING,
    State.STARTED: Verdict.RUNNING,  # also while it has been asked to stop
    State.COMPLETE: Verdict.SUCCESS,
    State.ERROR: Verdict.ERROR,  # FAILURES knows better
    State.STOPPED: Verdict.STOPPED,
}
FAILURES: Mapping[FailureReason, Verdict] = {
    FailureReason.COMMAND_FAILED: Verdict.FAILURE,
    FailureReason.OUT_OF_MEMORY: Verdict.FAILURE,
    FailureReason.TIME_LIMIT: Verdict.FAILURE,
    FailureReason.NO_OUTPUT: Verdict.FAILURE,
    FailureReason.PIDS: Verdict.FAILURE,
    FailureReason.IMAGE: Verdict.ERROR,
    FailureReason.INPUT: Verdict.ERROR,
    FailureReason.OUTPUT: Verdict.ERROR,
    FailureReason.DISK: Verdict.ERROR,
    FailureReason.INTERRUPTED: Verdict.ERROR,
    FailureReason.RUNNER_LOST: Verdict.ERROR,
    FailureReason.INTERNAL: Verdict.ERROR,
}
# The worst first. One that failed decides even while others run.
ORDER = (Verdict.ERROR, Verdict.FAILURE, Verdict.STOPPED, Verdict.RUNNING, Verdict.WAITING, Verdict.SUCCESS)


def verdict(state: State, failure_reason: FailureReason | None) -> Verdict:
    """What a forge shows of an execution. A stop request changes nothing: it runs until it has stopped."""
    return FAILURES[failure_reason] if failure_reason is not None else STATES[state]


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Of several steps together; none is a success. While some wait and others are done, the commit is being run."""
    found = set(verdicts)
    if found == {Verdict.WAITING, Verdict.SUCCESS}:
        return Verdict.RUNNING
    return next((one for one in ORDER if one in found), Verdict.SUCCESS)


def contexts(steps: Iterable[str]) -> dict[str, str]:
    """The context of each step of a commit: the same for the same name, as long as the steps before it in the file stay.

    Forges ignore case. Of names that differ in nothing else the first keeps its own; the others, and names that are cut
    or changed, end in a digest of the name.
    """
    found: dict[str, str] = {}
    taken: set[str] = set()
    for step in dict.fromkeys(steps):
        name = _plain(step)
        if name != step or _folded(name) in taken:
            digest = hashlib.sha1(step.encode("utf-8", "replace"), usedforsecurity=False).hexdigest()[:DIGEST_CHARS]
            name = f"{name} {digest}".lstrip()
        taken.add(_folded(name))
        found[step] = f"{CONTEXT}/{name}"
    return found


def clamp(text: str, most: int) -> str:
    """One line of at most so many characters."""
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"


def _plain(step: str) -> str:
    kept = (c if c.isprintable() and ord(c) <= LAST_OF_PLANE_0 else " " for c in unicodedata.normalize("NFC", step))
    return " ".join("".join(kept).split())[:NAME_CHARS].rstrip()


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold()
