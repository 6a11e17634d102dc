"""Work on several repositories at once, so that a slow one holds up no other.

The sweep ingests each repository with stored deliveries in a thread: at most four hosted repositories and four that
must be fetched at once. A thread starts no further delivery after 5 s while other repositories wait for its place.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable


class Threads:
    """At most `limit` at once, and one for each repository; those that find no place are asked for again later."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._running: dict[int, threading.Thread] = {}
        self._turns: dict[int, int] = {}  # repository → the number of its last turn
        self._turn = 0

    def take_turns(self, repository_ids: Iterable[int], work: Callable[[int], None]) -> None:
        """Start as many as there is room for: those that had no turn yet, then those whose last one is longest ago."""
        for repository_id in sorted(repository_ids, key=lambda number: self._turns.get(number, 0)):
            if self.start(repository_id, work):
                self._turn += 1
                self._turns[repository_id] = self._turn

    def start(self, repository_id: int, work: Callable[[int], None]) -> bool:
        """Start, unless there is no room or somebody is at work on the repository. `work` may be killed at any time."""
        if self.busy(repository_id) or len(self._running) >= self._limit:
            return False
        thread = threading.Thread(target=work, args=(repository_id,), daemon=True)
        self._running[repository_id] = thread
        thread.start()
        return True

    def busy(self, repository_id: int | None = None) -> bool:
        """Whether somebody is at work, on this repository or on any."""
        self._running = {number: thread for number, thread in self._running.items() if thread.is_alive()}
        return bool(self._running) if repository_id is None else repository_id in self._running

    def join(self) -> None:
        for thread in self._running.values():
            thread.join()
