"""Two clocks: this machine's monotonic clock, and an estimate of the server's clock.

The responses to a claim and to each heartbeat contain the server's time. A runner whose clock is off by more than a
second uses it to date log lines. Limits use the monotonic clock.
"""

from __future__ import annotations

import threading
import time

CLOSE_US = 1_000_000  # smaller differences between the two clocks are ignored
ANSWER_S = 1.0  # time to wait for the server's clock before this machine's clock is used


def get_uptime() -> float:
    """Seconds since the machine booted; independent of the system time and the same in every process."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class ServerClock:
    """Offset between the server's clock and this machine's. Thread-safe."""

    def __init__(self) -> None:
        self._offset_us = 0
        self._told = threading.Event()

    def note(self, sent: float, answered: float, server_us: int) -> None:
        """Record the server's time from a response to a request.

        `sent` and `answered` are Unix seconds of this machine's clock; `server_us` is 0 if the response has no time.
        """
        off_us = server_us - round((sent + answered) / 2 * 1e6) if server_us else 0
        self._offset_us = off_us if abs(off_us) > CLOSE_US else 0
        self._told.set()

    def us(self, ours: float) -> int:
        """Convert Unix seconds of this machine's clock to microseconds of the server's."""
        self._told.wait(ANSWER_S)
        return int(ours * 1e6) + self._offset_us
