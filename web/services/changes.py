"""Wakes live pages when something changed. Within one process only; followers also look by themselves now and then."""

from __future__ import annotations

import threading


class Changes:
    """A counter that followers wait on."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._version = 0

    @property
    def version(self) -> int:
        return self._version

    def publish(self) -> None:
        with self._condition:
            self._version += 1
            self._condition.notify_all()

    def wait(self, seen: int, timeout_s: float) -> int:
        """Block until the version differs from `seen` or the time is over; the version then."""
        with self._condition:
            self._condition.wait_for(lambda: self._version != seen, timeout_s)
            return self._version
