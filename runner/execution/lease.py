"""The lease on one execution: from a second after the claim, a thread extends it and receives the server's orders."""

from __future__ import annotations

import logging
import threading
import time

from core.errors import Conflict, PushmillError
from core.wire import LeaseOrders
from runner.clock import ServerClock, get_uptime
from runner.server_client import Reporter

log = logging.getLogger(__name__)

INTERVAL_S = 1.0


class Lease:
    """Extends the lease until closed, and knows whether the execution has to end.

    `stop` is "" | "stop" | "kill" and only ever escalates; `lost` means that the execution no longer belongs to this
    process. While the server cannot be reached, the execution continues. `time_limit_at` is in seconds of `get_uptime()`.
    """

    def __init__(
        self, reporter: Reporter, execution: str, attempt: int, clock: ServerClock, time_limit_at: float | None = None
    ) -> None:
        self.stop = ""
        self.lost = False
        self.clock = clock
        self._trouble = ""
        self._reporter = reporter.with_give_up(lambda: self.lost)
        self._execution, self._attempt = execution, attempt
        self._time_limit_at = time_limit_at
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._closed.set()

    def renew(self) -> LeaseOrders | None:
        """Send one heartbeat; returns None if the server did not answer. Raises Conflict if the lease is lost."""
        sent = time.time()
        try:
            orders = self._reporter.heartbeat(self._execution, self._attempt)
        except Conflict:
            self.lost = True
            raise
        except PushmillError as error:
            self._say_once(error)
            return None
        self.clock.note(sent, time.time(), orders.server_us)
        self._trouble = ""
        if orders.stop == "kill" or (orders.stop and not self.stop):
            self.stop = orders.stop
        return orders

    def _say_once(self, error: PushmillError) -> None:
        """Log an error unless it repeats the last one: the server may be unavailable for hours, with one per second."""
        if str(error) != self._trouble:
            log.warning("no heartbeat of execution %s: %s", self._execution, error)
        self._trouble = str(error)

    def expired(self) -> bool:
        """Whether the step's time limit has passed."""
        return self._time_limit_at is not None and get_uptime() >= self._time_limit_at

    def cancelled(self) -> bool:
        """Whether the stages before the container's start should end."""
        return self.lost or bool(self.stop) or self.expired()

    def abandoned(self) -> bool:
        """Whether nobody waits for the rest of the execution: the lease is lost, or it is to be killed."""
        return self.lost or self.stop == "kill"

    def _run(self) -> None:
        while not self._closed.wait(INTERVAL_S):
            try:
                self.renew()
            except Conflict:
                if not self._closed.is_set():  # else its final report has just been accepted
                    log.warning("the lease on execution %s is lost", self._execution)
                break
        self._reporter.close()
