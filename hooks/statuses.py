"""Map states of executions to those that forges show, and name statuses so that branch protection can rely on them."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Collection, Iterable, Mapping

from core.model import Target
from core.states import FailureReason, State
from core.text import make_printable
from hooks.apis.base import CommitState

CONTEXT = "pushmill"  # name of the status of the whole commit; the names of other statuses start with it
NAME_CHARS = 100  # most characters of a target's name in a context; longer names are cut
DIGEST_CHARS = 8
LAST_OF_PLANE_0 = 0xFFFF  # some forges' databases cannot store characters beyond it

STATES: Mapping[State, CommitState] = {
    State.CREATED: CommitState.WAITING,
    State.QUEUED: CommitState.WAITING,
    State.STARTED: CommitState.RUNNING,  # also during a stop request
    State.COMPLETE: CommitState.SUCCESS,
    State.ERROR: CommitState.ERROR,  # unless FAILURES has a more specific state
    State.STOPPED: CommitState.STOPPED,
}
FAILURES: Mapping[FailureReason, CommitState] = {
    FailureReason.COMMAND_FAILED: CommitState.FAILURE,
    FailureReason.OUT_OF_MEMORY: CommitState.FAILURE,
    FailureReason.TIME_LIMIT: CommitState.FAILURE,
    FailureReason.NO_OUTPUT: CommitState.FAILURE,
    FailureReason.PIDS: CommitState.FAILURE,
    FailureReason.ENVIRONMENT: CommitState.ERROR,
    FailureReason.IMAGE: CommitState.ERROR,
    FailureReason.INPUT: CommitState.ERROR,
    FailureReason.OUTPUT: CommitState.ERROR,
    FailureReason.DISK: CommitState.ERROR,
    FailureReason.INTERRUPTED: CommitState.ERROR,
    FailureReason.RUNNER_LOST: CommitState.ERROR,
    FailureReason.INTERNAL: CommitState.ERROR,
}
# Worst first. One failure decides even while others run.
ORDER = (
    CommitState.ERROR,
    CommitState.FAILURE,
    CommitState.STOPPED,
    CommitState.RUNNING,
    CommitState.WAITING,
    CommitState.SUCCESS,
)


def choose_execution_state(state: State, failure_reason: FailureReason | None) -> CommitState:
    """Return the state that forges show for an execution. A stop request does not change it."""
    return FAILURES[failure_reason] if failure_reason is not None else STATES[state]


def choose_group_state(state: State, failures: Collection[FailureReason]) -> CommitState:
    """Return the state of a task or a pipeline whose executions failed for these reasons.

    It is ERROR if the machines caused every failure.
    """
    if state is not State.ERROR:
        return STATES[state]
    by_machines = failures and all(FAILURES[reason] is CommitState.ERROR for reason in failures)
    return CommitState.ERROR if by_machines else CommitState.FAILURE


def combine_states(states: Iterable[CommitState]) -> CommitState:
    """Combine the states of several targets; without targets it is a success.

    If some wait and others have succeeded, the commit is running.
    """
    found = set(states)
    if found == {CommitState.WAITING, CommitState.SUCCESS}:
        return CommitState.RUNNING
    return next((one for one in ORDER if one in found), CommitState.SUCCESS)


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
    text = " ".join(make_printable(text, " ").split())
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"


def _digest(target: Target) -> str:
    identity = f"{target.kind} {target.name}".encode("utf-8", "replace")
    return hashlib.sha1(identity, usedforsecurity=False).hexdigest()[:DIGEST_CHARS]


def _plain(label: str) -> str:
    kept = (c if ord(c) <= LAST_OF_PLANE_0 else " " for c in make_printable(unicodedata.normalize("NFC", label), " "))
    return " ".join("".join(kept).split())[:NAME_CHARS].rstrip()


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold()
