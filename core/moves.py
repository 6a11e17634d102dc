"""The one table of legal moves between states."""

from __future__ import annotations

from core.errors import IllegalMove
from core.states import FailureReason, State

MOVES: frozenset[tuple[State, State]] = frozenset(
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


def check_move(
    current: State, to: State, *, failure_reason: FailureReason | None = None, container_started: bool = False
) -> None:
    """Raise IllegalMove unless an execution in `current` may go to `to`.

    `error` needs a failure reason and no other state takes one. The way back, `started` to `queued`, is open
    only while no container of the execution was ever started.
    """
    if (current, to) not in MOVES:
        raise IllegalMove(current, to, "that move is not in the table")
    if (to is State.ERROR) != (failure_reason is not None):
        raise IllegalMove(current, to, f"failure reason {failure_reason!s}")
    if (current, to) == (State.STARTED, State.QUEUED) and container_started:
        raise IllegalMove(current, to, "a container of it was started")
