"""Work on several repositories at once, so that one whose remote is slow holds up nobody else."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Threads:
    """At most `limit` at once, and one for each repository; those that find no place are asked for again later."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._running: dict[int, threading.Thread] = {}

    def start(self, repository_id: int, work: Callable[[int], None]) -> None:
        """`work` may be killed at any time."""
        if not self.busy(repository_id) and len(self._running) < self._limit:
            thread = threading.Thread(target=work, args=(repository_id,), daemon=True)
            self._running[repository_id] = thread
            thread.start()

    def busy(self, repository_id: int | None = None) -> bool:
        """Whether somebody is at work, on this repository or on any."""
        self._running = {number: thread for number, thread in self._running.items() if thread.is_alive()}
        return bool(self._running) if repository_id is None else repository_id in self._running

    def join(self) -> None:
        for thread in self._running.values():
            thread.join()
