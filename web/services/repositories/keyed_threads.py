"""Work on several repositories concurrently, so that a slow one does not delay the others.

The sweep ingests each repository with stored deliveries in a thread: at most four hosted repositories and four that
must be fetched at once. A thread starts no further delivery after 5 s while other repositories wait for a thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable


class Threads:
    """Runs at most `limit` threads, and one for each repository. Callers retry those that were not started."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._running: dict[int, threading.Thread] = {}
        self._turns: dict[int, int] = {}  # repository → the number of its last turn
        self._turn = 0

    def take_turns(self, repository_ids: Iterable[int], work: Callable[[int], None]) -> None:
        """Start as many as the limit allows, least recently started repositories first."""
        for repository_id in sorted(repository_ids, key=lambda number: self._turns.get(number, 0)):
            if self.start(repository_id, work):
                self._turn += 1
                self._turns[repository_id] = self._turn

    def start(self, repository_id: int, work: Callable[[int], None]) -> bool:
        """Start `work` in a daemon thread, which may be killed at any time.

        Returns False if the limit is reached or the repository is already worked on.
        """
        if self.busy(repository_id) or len(self._running) >= self._limit:
            return False
        thread = threading.Thread(target=work, args=(repository_id,), daemon=True)
        self._running[repository_id] = thread
        thread.start()
        return True

    def busy(self, repository_id: int | None = None) -> bool:
        """Return whether a thread works on this repository, or on any."""
        self._running = {number: thread for number, thread in self._running.items() if thread.is_alive()}
        return bool(self._running) if repository_id is None else repository_id in self._running

    def join(self) -> None:
        for thread in self._running.values():
            thread.join()
