"""Uploads the outputs of one execution. Files are independent: a failure of one does not affect the others."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from core import datum
from core.errors import Conflict, Denied, ExecutionFailed, NotFound, PushmillError
from core.states import FailureReason, State
from core.units import format_size
from core.wire import ExecutionSpec, FinalReport
from runner import outputs
from runner.execution.context import ExecutionContext
from runner.execution.outcome import make_failed_report, make_stopped_report
from runner.outputs import OutputFile, Remarks
from runner.server_client import Rejected, Reporter, Unavailable

SIDECARS = (
    f"Files *{datum.SIDECAR} and {datum.SIDECAR_OF_ALL} have no effect here yet: their tags, aliases and dataset versions are"
    " not created; the files are stored as outputs, and pipelines do not pass them on"
)


def upload(run: ExecutionContext, report: FinalReport) -> FinalReport:
    """Upload the files in /valohai/outputs; returns the report, changed if the upload failed or was stopped."""
    asked_before = run.lease.stop

    def given_up() -> bool:
        return run.lease.abandoned() or run.lease.stop != asked_before

    reporter = run.host.reporter.with_give_up(given_up, on_full=_once(run.status))
    stored = _Stored(Remarks(run.status))
    complete = report.state == State.COMPLETE
    try:
        problem = _store_all(run, reporter, stored)
    except Unavailable:
        run.status(f"Stopped after {stored.count} outputs")
        return make_stopped_report(report.attempt, report.exit_code) if complete else report
    finally:
        reporter.close()
    if stored.count:
        run.status(stored.sentence())
    if stored.sidecars:
        run.status(SIDECARS)
    if not problem:
        return report
    run.status(f"Outputs: {problem}")
    return make_failed_report(report.attempt, FailureReason.OUTPUT, problem, report.exit_code) if complete else report


def _once(status: Callable[[str], None]) -> Callable[[str], None]:
    """Return a callback that writes a status line when it is first called, because the server's disk is full."""
    told = False

    def on_full(reason: str) -> None:
        nonlocal told
        if not told:
            status(f"Outputs wait on the runner: {reason}")
        told = True

    return on_full


@dataclass
class _Stored:
    """Counts stored and failed files, and keeps the reason of the first failure."""

    remarks: Remarks
    count: int = 0
    size: int = 0
    failed: int = 0
    sidecars: int = 0
    first: str = ""
    names: set[str] = field(default_factory=set)

    def obstacle(self, name: str) -> str:
        """Why a file of this name cannot be stored; "" if the upload can be tried."""
        if name in self.names:  # bytes that are not UTF-8 are written as %XX, which can equal another file's name
            return "another output has the same name"
        return datum.find_name_problem(name)

    def add(self, file: OutputFile) -> None:
        self.names.add(file.name)
        self.sidecars += datum.is_sidecar(file.name, self.names)  # sidecars sort after the file that they describe
        self.count += 1
        self.size += file.size

    def fail(self, file: OutputFile, reason: str) -> None:
        self.failed += 1
        self.first = self.first or f"{outputs.format_name(file.name)}: {reason}"
        self.remarks.add(file.name, f"cannot be stored: {reason}")

    def sentence(self) -> str:
        return f"Uploaded {self.count} output{'s' if self.count > 1 else ''}, {format_size(self.size)}"

    def problem(self) -> str:
        if not self.failed:
            return ""
        of_all = f"{self.failed:,} of {self.failed + self.count:,} output files cannot be stored"
        return f"{of_all}{', the first is ' if self.failed > 1 else ': '}{self.first}"


def _store_all(run: ExecutionContext, reporter: Reporter, stored: _Stored) -> str:
    """Upload the files one by one; returns a sentence about missing ones, or "". Raises Conflict and Unavailable."""
    spec, limit = run.spec, ""
    files = outputs.collect(
        run.directory / "outputs", max_count=spec.output_count, max_bytes=spec.output_bytes, remarks=stored.remarks
    )
    try:
        for file in files:
            if reason := stored.obstacle(file.name) or _store(spec, reporter, file):
                stored.fail(file, reason)
            else:
                stored.add(file)
    except ExecutionFailed as failure:
        limit = str(failure)
    stored.remarks.finish()
    return ". ".join(filter(None, (stored.problem(), limit)))


def _store(spec: ExecutionSpec, reporter: Reporter, file: OutputFile) -> str:
    """Upload a file; returns the reason if it fails, else "".

    Raises Conflict and Unavailable, which concern all files.
    """
    try:
        reporter.upload(spec.uuid, spec.attempt, _datum(spec, file.name), file.name, file.open, file.size)
    except Unavailable:
        raise
    except NotFound as error:  # the execution is gone, with its project
        raise Conflict(str(error)) from None
    except Conflict:
        _check_lease(spec, reporter)
        return "it is already stored with other content"
    except Rejected as rejected:
        return rejected.reason
    except PushmillError as error:
        return str(error)
    return ""


def _check_lease(spec: ExecutionSpec, reporter: Reporter) -> None:
    """Raise Conflict if the lease is lost; otherwise the conflict was about one file."""
    with suppress(Unavailable, Denied):
        reporter.heartbeat(spec.uuid, spec.attempt)


def _datum(spec: ExecutionSpec, name: str) -> str:
    """The uuid of an output; the same if the upload is repeated after the process died during it."""
    return str(uuid.uuid5(uuid.UUID(spec.uuid), f"{spec.attempt}/{name}"))
