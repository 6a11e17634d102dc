"""Watches a live container until it has ended, no matter which process started it, and stops it when required."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass

from core.errors import Conflict
from core.states import FailureReason, State
from core.wire import FinalReport
from runner.clock import steady
from runner.containers.engine import Engine
from runner.containers.specs import Exit
from runner.containers.usage import Sampler
from runner.execution.context import ExecutionContext
from runner.execution.outcome import ending
from runner.state_dir import read_json, write_json

log = logging.getLogger(__name__)

TICK_S = 0.1
ENDING = "ending.json"
STOP_SENTENCES = {
    State.STOPPED: "Stopping",
    FailureReason.TIME_LIMIT: "Stopping at the time limit",
    FailureReason.NO_OUTPUT: "Stopping for lack of output",
}


class Waiter:
    """Waits for a container's end in a thread, which then sets `done`."""

    def __init__(self, engine: Engine, container_id: str) -> None:
        self.done = threading.Event()
        self.exited = Exit(137)
        self._engine, self._container_id = engine, container_id
        threading.Thread(target=self._run, name="wait", daemon=True).start()

    def _run(self) -> None:
        self.exited = self._engine.wait(self._container_id)
        self.done.set()


@dataclass
class Ending:
    """Progress of ending the container: the reason, and when it is killed, in seconds of `steady()`."""

    asked: State | FailureReason | None = None
    kill_at: float = 0.0
    killed: bool = False


def wait_for_end(run: ExecutionContext) -> FinalReport:
    """Wait for the run's container to end; returns its report once all its output is stored.

    Raises Conflict if the lease is lost.
    """
    waiter = Waiter(run.host.engine, run.container_id)
    sampler = Sampler(run.host.engine, run.reporter, run.lease.clock, run.spec.uuid, run.spec.attempt, run.container_id)
    sampler.start()
    try:
        end = _watch(run, waiter)
    finally:
        sampler.close()
    run.container_ended_at = steady()
    run.shipper.drain()
    return ending(run.spec.attempt, waiter.exited, end.asked, run.progress, run.limits)


def _watch(run: ExecutionContext, waiter: Waiter) -> Ending:
    """Return once the container has ended, and end it when the run requires it."""
    kept_since, end = steady(), _begun(run)
    while not waiter.done.wait(TICK_S):
        if run.lease.lost:
            raise Conflict(f"the lease on execution {run.spec.uuid} is lost")
        if end.asked is None:
            if asked := _why_end(run, kept_since):
                end = _terminate(run, asked)
        elif not end.killed and (run.lease.stop == "kill" or steady() >= end.kill_at):
            end.killed = True
            run.status("Killing the container")
            run.host.engine.kill(run.container_id)
    return end


def _why_end(run: ExecutionContext, kept_since: float) -> State | FailureReason | None:
    if run.lease.stop:
        return State.STOPPED
    if run.lease.expired():
        return FailureReason.TIME_LIMIT
    limit = run.spec.no_output_limit_s
    if limit and steady() - max(run.shipper.last_output, kept_since) >= limit:
        return FailureReason.NO_OUTPUT
    return None


def _begun(run: ExecutionContext) -> Ending:
    """Resume the ending that an earlier process began; sends SIGTERM again, as it may have died before sending it."""
    written = read_json(run.directory / ENDING)
    if written is None:
        return Ending()
    run.host.engine.terminate(run.container_id)
    asked = written["asked"]
    return Ending(State.STOPPED if asked == State.STOPPED else FailureReason(asked), written["kill_at"])


def _terminate(run: ExecutionContext, asked: State | FailureReason) -> Ending:
    """Record the reason in ending.json; if there is a grace period, send SIGTERM."""
    grace = 0.0 if run.lease.stop == "kill" else run.spec.stop_grace_s
    end = Ending(asked, steady() + grace)
    write_json(run.directory / ENDING, {"asked": end.asked, "kill_at": end.kill_at})
    if grace:
        run.status(f"{STOP_SENTENCES[asked]}: SIGTERM, {grace:g} s grace")
        run.host.engine.terminate(run.container_id)
    return end
