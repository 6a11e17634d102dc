"""Tables of legal state transitions.

Final states never change. The only transition back, `started → queued`, is allowed while no container of the
execution was ever started.
"""

from __future__ import annotations

from core.errors import IllegalTransition
from core.states import FINAL, FailureReason, State

TRANSITIONS: frozenset[tuple[State, State]] = frozenset(
    {
        (State.CREATED, State.QUEUED),
        (State.CREATED, State.STOPPED),
        (State.CREATED, State.ERROR),
        (State.QUEUED, State.STARTED),
        (State.QUEUED, State.STOPPED),
        (State.QUEUED, State.ERROR),
        (State.STARTED, State.QUEUED),
        (State.STARTED, State.COMPLETE),
        (State.STARTED, State.ERROR),
        (State.STARTED, State.STOPPED),
    }
)

# For tasks, pipelines and nodes: `created` until one of their executions starts, `started` until all have ended.
GROUP_TRANSITIONS: frozenset[tuple[State, State]] = frozenset(
    {(State.CREATED, State.STARTED)}
    | {(State.CREATED, final) for final in FINAL}
    | {(State.STARTED, final) for final in FINAL}
)


def check_group_transition(current: State, to: State) -> None:
    """Raise IllegalTransition unless a task, pipeline or node may change from `current` to `to`."""
    if (current, to) not in GROUP_TRANSITIONS:
        raise IllegalTransition(current, to, "this transition is not in the table")


def check_transition(
    current: State, to: State, *, failure_reason: FailureReason | None = None, container_started: bool = False
) -> None:
    """Raise IllegalTransition unless an execution may change from `current` to `to`.

    `error` needs a failure reason and no other state accepts one. `started` may change back to `queued` only if no
    container of the execution was ever started.
    """
    if (current, to) not in TRANSITIONS:
        raise IllegalTransition(current, to, "this transition is not in the table")
    if (to is State.ERROR) != (failure_reason is not None):
        raise IllegalTransition(current, to, f"failure reason {failure_reason!s}")
    if (current, to) == (State.STARTED, State.QUEUED) and container_started:
        raise IllegalTransition(current, to, "its container was started")
