"""State transitions of executions, one transaction each. Only this module calls `executions.transition`.

A runner must hold the lease to report for an execution: be its runner, on its current attempt. Otherwise Conflict is
raised.

A transition is one conditional UPDATE (state *and* attempt must still be those that the caller read) and one
`state_change` row in the same BEGIN IMMEDIATE. A stop request is a field, not a state. A late report gets 409.

Leases last 12 s and are extended each second. When one expires before a container started, the sweep queues the
execution again. With a container it waits two hours for its runner (`[limits] runner_silence`), shown as "no contact
since …". It becomes `runner_lost` at once when the runner returns without it (its heartbeat lists its executions) or when
a user re-runs it, and after a minute when a user stops it or the step sets `autorestart`. The sweep handles expired
leases from 15 s after its start on, because no lease could be extended while the server was down.

A runner that lets a lease expire, or leaves an execution unclaimed for 8 s, counts as silent until its next
heartbeat: no executions are placed on it until then.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from core import clock
from core.errors import Conflict, InvalidInput
from core.model import Execution, Runner
from core.states import FINAL, WAITING, FailureReason, State
from core.units import format_limit, format_size
from core.wire import STREAMS, FinalReport, LeaseOrders, LogBatch
from web.config import metadata
from web.services.context import Context
from web.store import audit, executions, logs, runners, usage
from web.store import metadata as metadata_rows
from web.store.audit import Act, Kind
from web.store.db import Database, transaction

LEASE_S = 12.0  # heartbeats arrive every second; a lease this long survives a pause on either side
SILENT_S = 60.0  # without a heartbeat for this long an execution counts as out of contact


def queue(db: Database, execution: Execution) -> None:
    """Queue an execution that the quota allows."""
    executions.transition(db, execution, State.QUEUED)


def claim(context: Context, runner: Runner, execution_uuid: str, attempt: int, *, resume: bool) -> Execution:
    """Start an execution on the runner on which it was placed.

    With `resume`, only return an execution whose lease the runner already holds.
    """
    db = context.db
    with transaction(db):
        execution = executions.get_by_uuid(db, execution_uuid)
        if resume:
            _check_lease(execution, runner, attempt)
            return execution
        if (execution.state, execution.runner_id, execution.attempt) != (State.QUEUED, runner.id, attempt):
            raise Conflict(f"execution {execution_uuid} is {execution.state}and cannot be claimed on attempt {attempt}")
        columns = {"lease_expires_at": _lease_end()}
        executions.transition(db, execution, State.STARTED, reason=f"picked up by {runner.name}", columns=columns)
        what = f"commit {execution.commit_identifier[:12]} on image {execution.image}"
        logs.log_status(db, context.config.logs_dir, execution, f"Started on runner {runner.name}: {what}")
        return executions.get_by_uuid(db, execution_uuid)


def extend(db: Database, runner: Runner, execution_uuid: str, attempt: int) -> LeaseOrders:
    """Handle a heartbeat: extend the lease and return the orders for the runner."""
    with transaction(db):
        execution = get_held_execution(db, runner, execution_uuid, attempt)
        executions.update(db, execution, lease_expires_at=_lease_end())
        acknowledged = logs.get_length(db, execution).acknowledged
    stop = "" if not execution.stop_requested_at else "stop" if execution.stop_count < 2 else "kill"
    server_us = time.time_ns() // 1000
    return LeaseOrders(stop=stop, lease_s=LEASE_S, acknowledged=acknowledged, server_us=server_us)


@dataclass(frozen=True, kw_only=True)
class StartedContainer:
    """A container on a runner; `devices` are UUIDs of its GPUs. `stage_s` are the seconds that its preparation took."""

    id: str
    image_digest: str | None
    devices: Sequence[str] = ()
    stage_s: Mapping[str, float] = field(default_factory=dict)


def record_container(
    db: Database, runner: Runner, execution_uuid: str, attempt: int, container: StartedContainer
) -> None:
    """Record the container; the execution cannot return to the queue after this."""
    with transaction(db):
        execution = get_held_execution(db, runner, execution_uuid, attempt)
        devices = json.dumps(list(container.devices))
        stages = {**execution.stages, **container.stage_s}  # the report may be repeated
        columns = {"devices": devices, "stages": json.dumps({"run_at": clock.now(), **stages})}
        executions.update(db, execution, container_id=container.id, image_digest=container.image_digest, **columns)


def add_usage(db: Database, runner: Runner, execution_uuid: str, attempt: int, samples: Sequence[usage.Sample]) -> None:
    """Store samples of resource usage. Idempotent per sample."""
    now_us = time.time_ns() // 1000
    with transaction(db):
        execution = get_held_execution(db, runner, execution_uuid, attempt)
        usage.add(db, execution.id, [replace(sample, time_us=min(sample.time_us, now_us)) for sample in samples])


def set_detail(db: Database, runner: Runner, execution_uuid: str, attempt: int, status_detail: str) -> None:
    with transaction(db):
        execution = get_held_execution(db, runner, execution_uuid, attempt)
        executions.update(db, execution, status_detail=status_detail[:1000])


def append_log(context: Context, runner: Runner, execution_uuid: str, batch: LogBatch, text: bytes) -> tuple[int, bool]:
    """Store a batch of log lines and their metadata; return (acknowledged spool bytes, whether the batch fitted).

    A batch that is already stored fits and changes nothing. A batch with a gap or an overlap does not fit: the runner
    sends again from the acknowledged offset.
    """
    db, config = context.db, context.config
    if (
        batch.stream not in STREAMS
        or not 0 <= batch.skipped <= batch.start <= batch.end
        or (text and not text.endswith(b"\n"))
    ):
        raise InvalidInput(f"a log batch of {batch.stream!r} from {batch.start} to {batch.end} is not whole lines")
    found, count = metadata.find_metadata(text) if batch.stream == "stdout" else ([], text.count(b"\n"))
    with transaction(db):
        execution = get_held_execution(db, runner, execution_uuid, batch.attempt)
        at = logs.get_length(db, execution, config.limits.log)
        have = at.acknowledged[batch.stream]
        if batch.end <= have or batch.start - batch.skipped != have:
            return have, batch.end <= have
        if batch.skipped:
            logs.log_status(db, config.logs_dir, execution, _skipped(batch))
            at = logs.get_length(db, execution, config.limits.log)
        whole_lines = logs.WholeLines(text, count)
        segment = logs.append(db, config.logs_dir, execution, at, _not_after_now(batch), whole_lines)
        if segment and found:
            indexes, values = zip(*found, strict=True)
            lines = list(zip(segment.times_us(indexes), values, strict=True))
            metadata_rows.add(db, execution.id, lines, config.limits.metadata)
    return batch.end, True


def _skipped(batch: LogBatch) -> str:
    size = format_size(batch.skipped)
    return f"{size} of {batch.stream} omitted: it was printed faster than it could be sent ([limits] log)"


@dataclass(frozen=True, kw_only=True)
class UnfinishedLine:
    """The unfinished line of a stream, starting at spool byte `start`."""

    stream: str
    start: int
    text: str


def preview_line(db: Database, runner: Runner, execution_uuid: str, attempt: int, line: UnfinishedLine) -> None:
    """Show an unfinished line until the whole line is stored."""
    if line.stream not in STREAMS:
        raise InvalidInput(f"there is no log stream {line.stream!r:.80}")
    with transaction(db):
        execution = get_held_execution(db, runner, execution_uuid, attempt)
        logs.set_partial(db, execution, line.stream, line.start, line.text)


def finish(context: Context, runner: Runner, execution_uuid: str, report: FinalReport) -> None:
    """Record a runner's final report. Repeating the same report is accepted; a different one raises Conflict."""
    db, logs_dir = context.db, context.config.logs_dir
    state, failure_reason = _ending(report)
    execution = executions.get_by_uuid(db, execution_uuid)
    if report.status and execution.state is State.STARTED:
        start, end, first_us, last_us, text = report.status
        batch = LogBatch(
            attempt=report.attempt, stream="status", start=start, end=end, first_us=first_us, last_us=last_us
        )
        append_log(context, runner, execution_uuid, batch, text.encode())
    # the log is complete by now; synced before the transaction, since the disk may be slow
    logs.sync(logs_dir, execution, logs.get_length(db, execution))
    with transaction(db):
        execution = executions.get_by_uuid(db, execution_uuid)
        ended = (execution.state, execution.failure_reason, execution.exit_code)
        same = ended == (state, failure_reason, report.exit_code)
        if same and (execution.runner_id, execution.attempt) == (runner.id, report.attempt):
            return
        _check_lease(execution, runner, report.attempt)
        logs.keep_partial(db, logs_dir, execution)  # the rest of a log that could not be stored
        columns = {"failure_message": report.message, "exit_code": report.exit_code}
        if report.upload_s is not None:
            columns["stages"] = json.dumps({**execution.stages, "upload": report.upload_s})
        executions.transition(
            db, execution, state, reason=report.message or "", failure_reason=failure_reason, columns=columns
        )


def request_stop(context: Context, execution_uuid: str, who: str) -> Execution:
    """Stop a running or waiting execution; a second request kills it. Does nothing if it is finished."""
    db = context.db
    with transaction(db):
        execution = executions.get_by_uuid(db, execution_uuid)
        if execution.state not in FINAL:
            audit.record(db, Act.STOP, Kind.EXECUTION, f"#{execution.counter}", execution.project_id)
        again = f"{who} asked to stop again: killing the container"
        said = again if execution.stop_requested_at else f"Stop requested by {who}"
        return _stop(context, execution, who, said, f"stopped by {who} before it started")


def delete(db: Database, execution_uuid: str) -> None:
    """Hide a finished execution from lists. Raises Conflict if it has not finished."""
    with transaction(db):
        execution = executions.get_by_uuid(db, execution_uuid)
        if execution.state not in FINAL:
            raise Conflict(f"execution #{execution.counter} is {execution.status}: stop it and wait until it has ended")
        if execution.deleted_at is None:
            executions.delete(db, execution)
            audit.record(db, Act.REMOVE, Kind.EXECUTION, f"#{execution.counter}", execution.project_id)


def stop(context: Context, execution: Execution, who: str, said: str) -> None:
    """Stop an execution unless a stop is already requested; `said` is the reason."""
    if execution.stop_requested_at is None:
        _stop(context, execution, who, said, f"{said[:1].lower()}{said[1:]} before it started")


def _stop(context: Context, execution: Execution, who: str, said: str, reason: str) -> Execution:
    """Stop an execution that waits, or order its runner to stop it.

    If the runner is out of contact, the sweep gives the execution up, and a runner that comes back with it is ordered to
    end it.
    """
    if execution.state in FINAL:
        return execution
    db = context.db
    at, count = execution.stop_requested_at or clock.now(), execution.stop_count + 1
    executions.update(db, execution, stop_requested_at=at, stop_count=count, stopped_by=who)
    logs.log_status(db, context.config.logs_dir, execution, said)
    if execution.state in WAITING:
        executions.transition(db, execution, State.STOPPED, reason=reason)
    return executions.get(db, execution.id)


def fail(context: Context, execution: Execution, reason: FailureReason, message: str) -> None:
    """End an execution with an error found by the server."""
    db, logs_dir = context.db, context.config.logs_dir
    logs.keep_partial(db, logs_dir, execution)
    logs.log_status(db, logs_dir, execution, message)
    logs.sync(logs_dir, execution, logs.get_length(db, execution))
    columns = {"failure_message": message}
    executions.transition(db, execution, State.ERROR, reason=message, failure_reason=reason, columns=columns)


def lose(context: Context, execution: Execution, why: str) -> None:
    """Give up an execution whose runner does not come back, or came back without it.

    It ends in error, or returns to the queue if no container was started.
    """
    with transaction(context.db):
        execution = executions.get(context.db, execution.id)
        if execution.state is State.STARTED:
            _give_up(context, execution, why)


def reconcile_runner(context: Context, runner: Runner, present: Collection[str]) -> bool:
    """Give up executions that a runner should have but does not list in `present`; return whether there were any.

    Executions with a valid lease are kept: they may have been claimed after the runner made its list.
    """
    held = executions.list_started_on(context.db, runner.id)
    missing = [e for e in held if e.uuid not in present and _lease_over(e)]
    for execution in missing:
        lose(context, execution, f"Runner {runner.name} came back without this execution")
    return bool(missing)


def recover(context: Context) -> None:
    """Handle expired leases: requeue executions without a container; wait for the runner of the others.

    The wait lasts `[limits] runner_silence`, or SILENT_S for executions with a stop request or `autorestart`.
    """
    for execution in executions.list_in_states(context.db, State.STARTED):
        if _lease_over(execution):
            with transaction(context.db):  # read again: its runner may have come back in the meantime
                _recover(context, executions.get(context.db, execution.id))


def compute_last_contact(execution: Execution) -> str:
    """Return when the runner of a started execution last extended its lease."""
    lease_end = clock.parse(execution.lease_expires_at or execution.created_at)
    return clock.format_moment(lease_end - timedelta(seconds=LEASE_S))


def is_out_of_contact(execution: Execution) -> bool:
    """Return whether an execution is started and its runner has not extended the lease for SILENT_S."""
    return execution.state is State.STARTED and _silence_s(execution) >= SILENT_S


def _recover(context: Context, execution: Execution) -> None:
    if execution.state is not State.STARTED or not _lease_over(execution):
        return
    patience_s: float = context.config.limits.runner_silence
    if execution.stop_requested_at or execution.autorestart:
        patience_s = min(patience_s, SILENT_S)
    if execution.container_id is None or _silence_s(execution) >= patience_s:
        if execution.runner_id is not None:
            runners.presume_silent(context.db, execution.runner_id, SILENT_S)  # or it would be placed there again
        _give_up(context, execution, f"No contact with its runner for {format_limit(patience_s)}")


def _give_up(context: Context, execution: Execution, why: str) -> None:
    if execution.container_id is not None:
        fail(context, execution, FailureReason.RUNNER_LOST, why)
        return
    db, logs_dir = context.db, context.config.logs_dir
    if execution.stop_requested_at:
        logs.log_status(db, logs_dir, execution, "Stopped: its runner went silent before the container started")
        executions.transition(db, execution, State.STOPPED, reason="stopped while its runner was silent")
        return
    columns = {"runner_id": None, "placed_at": None, "lease_expires_at": None, "started_at": None}
    why = "its runner went silent before the start"
    executions.transition(db, execution, State.QUEUED, reason=why, columns=columns)
    logs.log_status(
        db, logs_dir, execution, "Its runner went silent before the container started: waiting for a runner again"
    )


def _silence_s(execution: Execution) -> float:
    """Return the seconds since the runner extended the lease."""
    return clock.count_seconds_between(compute_last_contact(execution), clock.now())


def _lease_over(execution: Execution) -> bool:
    return _silence_s(execution) >= LEASE_S


def _not_after_now(batch: LogBatch) -> LogBatch:
    """Limit the times of a batch to now: the runner's clock may be ahead."""
    now_us = time.time_ns() // 1000
    return replace(batch, first_us=min(batch.first_us, now_us), last_us=min(batch.last_us, now_us))


def get_held_execution(db: Database, runner: Runner, execution_uuid: str, attempt: int) -> Execution:
    """Return an execution whose lease `runner` holds; inside a transaction it keeps it. Raises Conflict."""
    execution = executions.get_by_uuid(db, execution_uuid)
    _check_lease(execution, runner, attempt)
    return execution


def _check_lease(execution: Execution, runner: Runner, attempt: int) -> None:
    if (execution.state, execution.runner_id, execution.attempt) != (State.STARTED, runner.id, attempt):
        raise Conflict(f"runner {runner.name} holds no lease of execution {execution.uuid} on attempt {attempt}")


def _ending(report: FinalReport) -> tuple[State, FailureReason | None]:
    try:
        state = State(report.state)
        failure_reason = FailureReason(report.failure_reason) if report.failure_reason else None
    except ValueError as error:
        raise InvalidInput(f"final report: {error}") from None
    if state not in FINAL or (state is State.ERROR) != (failure_reason is not None):
        raise InvalidInput(f"final report: {report.state} with failure reason {report.failure_reason}")
    return state, failure_reason


def _lease_end() -> str:
    return clock.format_moment(datetime.now(UTC) + timedelta(seconds=LEASE_S))
