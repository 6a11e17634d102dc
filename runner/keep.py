"""Staying with a live container until it has ended; who started it does not matter."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass

from core.errors import Conflict
from core.states import FailureReason, State
from core.wire import FinalReport
from runner.clock import steady
from runner.container import Engine, Exit
from runner.ending import ending
from runner.run import Run
from runner.usage import Sampler

log = logging.getLogger(__name__)

TICK_S = 0.1
STOP_SENTENCES = {
    State.STOPPED: "Stopping",
    FailureReason.TIME_LIMIT: "Stopping at the time limit",
    FailureReason.NO_OUTPUT: "Stopping for lack of output",
}


class Waiter:
    """Waits for a container's end in a thread; `done` is set then."""

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
    """How far the runner has gone in ending the container: why, and when it is killed."""

    asked: State | FailureReason | None = None
    kill_at: float = 0.0
    killed: bool = False


def keep(run: Run) -> FinalReport:
    """Return how the run's container ended, once all that it printed is stored. Raises Conflict without the lease."""
    waiter = Waiter(run.host.engine, run.container_id)
    sampler = Sampler(run.host.engine, run.reporter, run.spec.uuid, run.spec.attempt, run.container_id)
    sampler.start()
    try:
        end = _watch(run, waiter)
    finally:
        sampler.close()
    run.follower.drain()
    return ending(run.spec.attempt, waiter.exited, end.asked, run.progress, run.limits)


def _watch(run: Run, waiter: Waiter) -> Ending:
    """Return once the container has ended, by itself or because it was to."""
    kept_since, end = steady(), Ending()
    while not waiter.done.wait(TICK_S):
        if run.lease.lost:
            raise Conflict(f"the lease on execution {run.spec.uuid} is lost")
        if end.asked is None:
            end.asked = _why_end(run, kept_since)
            if end.asked is not None:
                end.kill_at = time.monotonic() + _terminate(run, end.asked)
        elif not end.killed and (run.lease.stop == "kill" or time.monotonic() >= end.kill_at):
            end.killed = True
            run.status("Killing the container")
            run.host.engine.kill(run.container_id)
    return end


def _why_end(run: Run, kept_since: float) -> State | FailureReason | None:
    if run.lease.stop:
        return State.STOPPED
    if run.lease.expired():
        return FailureReason.TIME_LIMIT
    limit = run.spec.no_output_limit_s
    if limit and steady() - max(run.follower.last_output, kept_since) >= limit:
        return FailureReason.NO_OUTPUT
    return None


def _terminate(run: Run, asked: State | FailureReason) -> float:
    """Ask the processes to end; returns how many seconds they have."""
    if run.lease.stop == "kill":
        return 0.0
    grace = run.spec.stop_grace_s
    run.status(f"{STOP_SENTENCES[asked]}: SIGTERM, {grace:g} s grace")
    run.host.engine.terminate(run.container_id)
    return grace
