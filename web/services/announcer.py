"""Announce changes in the web server: wake live pages, dispatch executions, nudge the worker.

Listeners are called within this process only; other processes' changes are seen by polling.
"""

from __future__ import annotations

from collections.abc import Callable

from core.config import Config
from web.services.scheduling import dispatch
from web.services.scheduling.queues import Queues
from web.store.db import Database

Listener = Callable[[str | None], None]


class Announcer:
    def __init__(self, config: Config, queues: Queues) -> None:
        self._config, self._queues = config, queues
        self._listeners: tuple[Listener, ...] = ()

    def subscribe(self, listener: Listener) -> None:
        """Call `listener` on each change with the UUID of the changed execution, or None if it may be any."""
        self._listeners += (listener,)

    def wake(self, execution: str | None) -> None:
        for listener in self._listeners:
            listener(execution)

    def announce(self, db: Database, execution: str | None = None) -> None:
        """Wake the followers of the changed execution, or all for None; dispatch, and have the worker do the rest."""
        self.wake(execution)
        for placed in dispatch.dispatch(db, self._config, self._queues):
            self.wake(placed)
        self._queues.nudge_soon()
