"""Sends the final report of an execution, and removes what it leaves on this machine."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from core.errors import Conflict, ExecutionFailed, NotFound
from core.states import FailureReason, State
from core.units import format_limit
from core.wire import FinalReport
from runner import quarantine, sandbox
from runner.clock import get_uptime
from runner.execution.context import AWAY_S, Cancelled, ExecutionContext
from runner.execution.outcome import make_failed_report, make_stopped_report
from runner.host import Host
from runner.server_client import Unavailable
from runner.state_dir import locked, read_json

log = logging.getLogger(__name__)

DISCARDS = 2  # at once
_ROOM = threading.BoundedSemaphore(DISCARDS)


@contextlib.contextmanager
def concluded(run: ExecutionContext) -> Iterator[None]:
    """Run the stages in the block, which set `run.report`; then send it once the log is stored.

    An error in the block becomes the report. There is none if the execution no longer belongs to this runner.
    """
    try:
        yield
    except Conflict as conflict:
        log.warning("execution %s was given away: %s", run.spec.uuid, conflict)
    except (Cancelled, ExecutionFailed) as end:
        run.report = _early_end(run, end)
    except Exception as error:
        log.exception("execution %s", run.spec.uuid)
        run.report = make_failed_report(run.spec.attempt, FailureReason.INTERNAL, f"{type(error).__name__}: {error}")
    if run.report is not None and not run.lease.lost:
        _send(run, run.report)


def discard_in_background(host: Host, directory: Path) -> None:
    """Discard an ended execution in a thread, while the slot takes its next one; waits if too many are in progress."""
    _ROOM.acquire()
    threading.Thread(target=_discard_locked, args=(host, directory), name="discard", daemon=True).start()


def finish_discards() -> None:
    """Wait until nothing is being discarded in the background."""
    for _ in range(DISCARDS):
        _ROOM.acquire()
    _ROOM.release(DISCARDS)


def _discard_locked(host: Host, directory: Path) -> None:
    try:
        with locked(directory) as ours:
            if ours:
                discard(host, directory)
    except Exception:  # the next slot that starts tries again
        log.exception("what execution %s left cannot be removed", directory.name)
    finally:
        _ROOM.release()


def discard(host: Host, directory: Path) -> None:
    """Remove an execution's container, network sandbox and directory from this machine, once Docker answers.

    The directory is removed last: if the process is killed before, the next slot finds it and removes the container.
    """
    if container_id := read_json(directory / "container.json"):
        while not host.engine.remove(container_id):
            time.sleep(AWAY_S)
    sandbox.give_up(host.engine, directory)
    quarantine.remove(host.directory, directory)


def _early_end(run: ExecutionContext, end: Cancelled | ExecutionFailed) -> FinalReport | None:
    attempt = run.spec.attempt
    if run.lease.stop:
        return make_stopped_report(attempt)
    if run.lease.expired():
        limit = format_limit(run.limits.time_s)
        message = f"Its time limit of {limit} passed before the container started"
        return make_failed_report(attempt, FailureReason.TIME_LIMIT, message)
    if isinstance(end, ExecutionFailed):
        return make_failed_report(attempt, end.reason, str(end))
    return None  # the lease is lost


def _send(run: ExecutionContext, report: FinalReport) -> None:
    outcome = f"{report.state}, {report.failure_reason}: {report.message}" if report.message else report.state
    run.status(f"Finished in {run.seconds:.1f} s: {outcome}")
    last = run.shipper.settle()
    if run.shipper.error is not None and report.state == State.COMPLETE:
        report = make_failed_report(
            report.attempt, FailureReason.INTERNAL, f"The log cannot be stored: {run.shipper.error}"
        )
    if run.container_ended_at is not None:
        report = replace(report, upload_s=round(get_uptime() - run.container_ended_at, 3))
    try:  # the lease is extended meanwhile: the server may be away for long
        run.reporter.final(run.spec.uuid, report, last)
    except (Conflict, NotFound, Unavailable) as refusal:
        log.info("execution %s ended without us: %s", run.spec.uuid, refusal)
