"""Announce changes in the web server: wake live pages, dispatch executions, nudge the worker.

Listeners are called within this process only; other processes' changes are seen by polling.
"""

from __future__ import annotations

from collections.abc import Callable

from web.services.context import Context
from web.services.scheduling import dispatch
from web.services.scheduling.queues import Queues

Listener = Callable[[str | None], None]


class Announcer:
    def __init__(self, queues: Queues) -> None:
        self._queues = queues
        self._listeners: tuple[Listener, ...] = ()

    def subscribe(self, listener: Listener) -> None:
        """Call `listener` on each change with the UUID of the changed execution, or None if it may be any."""
        self._listeners += (listener,)

    def wake(self, execution: str | None) -> None:
        for listener in self._listeners:
            listener(execution)

    def announce(self, context: Context, execution: str | None = None) -> None:
        """Wake the followers of the changed execution, or all for None; dispatch, and have the worker do the rest."""
        self.wake(execution)
        for placed in dispatch.dispatch(context, self._queues):
            self.wake(placed)
        self._queues.nudge_soon()
