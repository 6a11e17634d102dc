"""The context that the stages of one execution share: lease, log, directory, status lines."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Generic, Self, TypeVar

from core.wire import ExecutionSpec, FinalReport, LeaseOrders
from runner.clock import ServerClock, get_uptime
from runner.containers.engine import EngineAway
from runner.execution import step_controls
from runner.execution.lease import Lease
from runner.execution.limits import compute_limits
from runner.execution.relay import Relay
from runner.host import Host, get_memory_bytes
from runner.logs.masking import Masker
from runner.logs.progress import CommandProgress
from runner.logs.shipper import LogSource, Shipper
from runner.logs.spool import StatusWriter, open_alive
from runner.state_dir import remember_secrets

log = logging.getLogger(__name__)

POLL_S = 0.05
AWAY_S = 0.5  # between two checks whether Docker is back

Result = TypeVar("Result")


class Cancelled(Exception):
    """Raised by a stage before the container's start if the execution was stopped or its time limit passed."""


class ExecutionContext:
    """One execution held by this process. A context manager that starts and stops the heartbeat and the log."""

    def __init__(
        self,
        host: Host,
        claimed: tuple[ExecutionSpec, ServerClock, LeaseOrders],
        directory: Path,
        claimed_at: float,
    ) -> None:
        spec, clock, orders = claimed
        self.host, self.spec, self.directory, self.claimed_at = host, spec, directory, claimed_at
        self.container_id = ""
        self.relay: Relay | None = None
        self.report: FinalReport | None = None
        self.container_ended_at: float | None = None  # in seconds of `get_uptime()`
        self.stage_s: dict[str, float] = {}  # of those of PREPARING that are done
        self.controls = step_controls.read(spec.environment_variables)
        self.limits = compute_limits(host.settings, spec, self.controls, get_memory_bytes())
        limit = self.limits.time_s
        self.lease = Lease(host.reporter, spec.uuid, spec.attempt, clock, claimed_at + limit if limit else None)
        self.lease.stop = orders.stop  # the next heartbeat repeats it, which is not a new request
        masker = Masker(remember_secrets(directory, spec.secret_values()))
        self.reporter = host.reporter.with_give_up(lambda: self.lease.lost, masker)
        spool = directory / "spool"
        self.alive = open_alive(
            spool
        )  # before the container starts: a short one ends before Docker says it has started
        self.status = StatusWriter(spool, masker)
        self.progress = CommandProgress(spool, [masker.mask_text(command) for command in spec.commands])
        source = LogSource(
            spool=spool, progress=self.progress, status=self.status, masker=masker, clock=self.lease.clock
        )
        self.shipper = Shipper(source, self.reporter, spec, orders.acknowledged)

    def __enter__(self) -> Self:
        self.lease.start()
        self.shipper.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.lease.close()
        self.shipper.close()
        if self.relay is not None:
            self.relay.close()
        self.progress.close()
        self.status.close()
        if self.alive is not None:
            os.close(self.alive)
        self.reporter.close()

    @property
    def seconds(self) -> float:
        """Seconds since the claim; 0 if the machine was rebooted in between."""
        return max(0.0, get_uptime() - self.claimed_at)

    def check(self) -> None:
        """Raise Cancelled if the stage should not continue."""
        if self.lease.cancelled():
            raise Cancelled


def retry_over_restarts(
    run: ExecutionContext, call: Callable[[], Result], mend: Callable[[], object] = lambda: None
) -> Result:
    """Return the result of `call`, and repeat it if the connection to Docker breaks during it.

    Before each repetition, waits until Docker answers and runs `mend`.
    """
    while True:
        try:
            return call()
        except EngineAway as away:
            log.warning("%s", away)
        run.status("Docker does not answer: waiting for it")
        while not run.host.engine.answers():
            run.check()
            time.sleep(AWAY_S)
        mend()


class BackgroundCall(Generic[Result]):
    """A call in its own thread. If the run is cancelled, the thread is abandoned, not stopped.

    With `stage`, one of PREPARING, the run notes how long it took.
    """

    def __init__(self, run: ExecutionContext, call: Callable[[], Result], stage: str = "") -> None:
        self._execution, self._call, self._stage = run, call, stage
        self._done = threading.Event()
        self._result: Result | None = None
        self._error: BaseException | None = None
        threading.Thread(target=self._run, daemon=True).start()

    def result(self) -> Result:
        """Wait for the call and return its result. Raises its exception, or Cancelled."""
        while not self._done.wait(POLL_S):
            self._execution.check()
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]  # None is a Result of a call that returns None

    def _run(self) -> None:
        began = get_uptime()
        try:
            self._result = self._call()
            if self._stage:
                self._execution.stage_s[self._stage] = round(get_uptime() - began, 3)
        except BaseException as error:  # noqa: BLE001  # raised in result()
            self._error = error
        finally:
            self._done.set()
