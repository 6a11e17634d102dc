"""Two clocks: the machine's own that nobody sets, and the server's as this machine sees it."""

from __future__ import annotations

import threading
import time

CLOSE_US = 1_000_000  # clocks that are no further apart than this count as one
ANSWER_S = 1.0  # for the server to tell its time before anything is dated by ours


def steady() -> float:
    """Seconds since the machine started: whatever its clock is set to, and the same for every process on it."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class ServerClock:
    """How far the server's clock is from this machine's; threads may share it."""

    def __init__(self) -> None:
        self._offset_us = 0
        self._told = threading.Event()

    def note(self, sent: float, answered: float, server_us: int) -> None:
        """The server gave its time in an answer to a request between two moments of our clock; 0 when it did not."""
        off_us = server_us - round((sent + answered) / 2 * 1e6) if server_us else 0
        self._offset_us = off_us if abs(off_us) > CLOSE_US else 0
        self._told.set()

    def us(self, ours: float) -> int:
        """A moment of our clock as the server's, in microseconds."""
        self._told.wait(ANSWER_S)
        return int(ours * 1e6) + self._offset_us
