"""Watches a live container until it has ended, no matter which process started it, and stops it when required."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import select
import threading
from dataclasses import dataclass
from typing import Literal

from core.errors import Conflict
from core.states import FailureReason, State
from core.wire import FinalReport
from runner.clock import get_uptime
from runner.containers.specs import Exit
from runner.containers.usage import Sampler
from runner.execution.context import ExecutionContext
from runner.execution.outcome import make_final_report
from runner.logs.spool import has_succeeded
from runner.state_dir import read_json, write_json

log = logging.getLogger(__name__)

TICK_S = 0.1
RESEND_S = 1.0
ENDING = "ending.json"
STOP_SENTENCES = {
    State.STOPPED: "Stopping",
    FailureReason.TIME_LIMIT: "Stopping at the time limit",
    FailureReason.NO_OUTPUT: "Stopping for lack of output",
}


class Waiter:
    """Waits for a container's end, which Docker reports and, sooner, the end of PID 1 after a successful script.

    Docker answers after it has removed the container's network, which takes as long as a short execution.
    """

    def __init__(self, run: ExecutionContext) -> None:
        self._engine, self._container_id, self._spool = run.host.engine, run.container_id, run.directory / "spool"
        self._answer = Exit(137)
        self._answered, self._open_until_answer = os.pipe2(os.O_CLOEXEC)
        self._alive = None if run.spec.gpus else run.alive  # until Docker has answered, it holds the GPUs
        self._events = select.poll()
        self._events.register(self._answered, 0)  # the end of a pipe is always reported
        if self._alive is not None:
            self._events.register(self._alive, 0)
        threading.Thread(target=self._ask, name="wait", daemon=True).start()

    def wait(self, timeout_s: float) -> Exit | None:
        """Return how the container ended, or None if it runs after `timeout_s`."""
        ended = [descriptor for descriptor, _ in self._events.poll(1000 * timeout_s)]
        if self._answered in ended:
            return self._answer
        if self._alive in ended:
            self._events.unregister(self._alive)
            return Exit(0) if has_succeeded(self._spool) else None
        return None

    def close(self) -> None:
        os.close(self._answered)

    def _ask(self) -> None:
        self._answer = self._engine.wait(self._container_id)
        os.close(self._open_until_answer)


@dataclass
class Ending:
    """Progress of ending the container: the reason, when it is killed, and the signal that is due.

    Times are in seconds of `get_uptime()`.
    """

    asked: State | FailureReason
    kill_at: float
    signal: Literal["SIGTERM", "SIGKILL"] = "SIGTERM"
    send_at: float = 0.0  # infinite once the signal was sent


def wait_for_end(run: ExecutionContext) -> FinalReport:
    """Wait for the run's container to end; returns its report once all its output is stored.

    Raises Conflict if the lease is lost.
    """
    waiter = Waiter(run)
    sampler = Sampler(run.host.engine, run.reporter, run.lease.clock, run.spec.uuid, run.spec.attempt, run.container_id)
    sampler.start()
    try:
        end, exited = _watch(run, waiter)
    finally:
        sampler.close()
        waiter.close()
    run.container_ended_at = get_uptime()
    run.shipper.drain()
    return make_final_report(run.spec.attempt, exited, end.asked if end else None, run.progress, run.limits)


def _watch(run: ExecutionContext, waiter: Waiter) -> tuple[Ending | None, Exit]:
    """Return once the container has ended, and end it when the run requires it."""
    kept_since, end = get_uptime(), _begun(run)
    while (exited := waiter.wait(TICK_S)) is None:
        if run.lease.lost:
            raise Conflict(f"the lease on execution {run.spec.uuid} is lost")
        if end is None and (asked := _why_end(run, kept_since)):
            end = _begin(run, asked)
        if end is not None:
            _signal(run, end)
    return end, exited


def _why_end(run: ExecutionContext, kept_since: float) -> State | FailureReason | None:
    if run.lease.stop:
        return State.STOPPED
    if run.lease.expired():
        return FailureReason.TIME_LIMIT
    limit = run.spec.no_output_limit_s
    if limit and get_uptime() - max(run.shipper.last_output, kept_since) >= limit:
        return FailureReason.NO_OUTPUT
    return None


def _begun(run: ExecutionContext) -> Ending | None:
    """Resume the ending that an earlier process began; SIGTERM is sent again, as it may have died before sending it."""
    written = read_json(run.directory / ENDING)
    if written is None:
        return None
    asked = written["asked"]
    return Ending(State.STOPPED if asked == State.STOPPED else FailureReason(asked), written["kill_at"])


def _begin(run: ExecutionContext, asked: State | FailureReason) -> Ending:
    """Record the reason in ending.json, and start the grace period, if there is one."""
    grace = 0.0 if run.lease.stop == "kill" else run.spec.stop_grace_s
    end = Ending(asked, get_uptime() + grace)
    with contextlib.suppress(OSError):  # the disk may be full; the next slot would then begin the grace period again
        write_json(run.directory / ENDING, {"asked": end.asked, "kill_at": end.kill_at})
    if grace:
        run.status(f"{STOP_SENTENCES[asked]}: SIGTERM, {grace:g} s grace")
    return end


def _signal(run: ExecutionContext, end: Ending) -> None:
    """Send the signal that is due, and again every RESEND_S until Docker has taken it."""
    now, engine = get_uptime(), run.host.engine
    if end.signal == "SIGTERM" and (run.lease.stop == "kill" or now >= end.kill_at):
        end.signal, end.send_at = "SIGKILL", now
        run.status("Killing the container")
    if now >= end.send_at:
        send = engine.kill if end.signal == "SIGKILL" else engine.terminate
        end.send_at = math.inf if send(run.container_id) else get_uptime() + RESEND_S
