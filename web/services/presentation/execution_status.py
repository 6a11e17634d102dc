"""Status of an execution, in the words used on pages."""

from __future__ import annotations

from dataclasses import dataclass

from core import clock
from core.groups import Pipeline, Task
from core.model import Execution, Runner
from core.states import FINAL
from web.services.context import Context
from web.services.executions import lifecycle
from web.services.presentation.origins import format_origin
from web.services.scheduling import wait_reason
from web.store import runners

STATUSES = ("created", "queued", "started", "stopping", "complete", "error", "stopped")
STATE_NAMES = {
    "created": "Waiting (limit)", "queued": "Queued", "started": "Running", "stopping": "Stopping",
    "complete": "Succeeded", "error": "Failed", "stopped": "Stopped",
}  # fmt: skip
SIGNS = {
    "created": "○", "queued": "◔", "started": "▶", "stopping": "◐", "complete": "✓", "error": "✕", "stopped": "■",
}  # fmt: skip
NOT_FOUND = 127  # exit code of a shell
FAILURES = {
    "command_failed": "Command failed",
    "out_of_memory": "Out of memory",
    "time_limit": "Time limit reached",
    "no_output": "No output for too long",
    "environment": "Environment not allowed",
    "image": "Image not available",
    "input": "Input not available",
    "output": "Output not stored",
    "pids": "Too many processes",
    "disk": "Out of disk space",
    "interrupted": "Interrupted",
    "runner_lost": "Runner lost",
    "internal": "Internal error",
}


@dataclass(frozen=True, kw_only=True)
class ExecutionStatus:
    """Status of an execution. `waits` says why it is not running, `failure` why it failed; both may be "".

    `stop` is the label of the button that stops it, "" once it has ended; `again` says whether it can be re-run.
    `origin` is as in `origins`.
    """

    runner: Runner | None
    waits: str
    failure: str
    silent_since: str | None
    stop: str
    again: bool
    origin: str


def get_status(context: Context, execution: Execution) -> ExecutionStatus:
    silent = lifecycle.is_out_of_contact(execution)
    runner = runners.get(context.db, execution.runner_id) if execution.runner_id is not None else None
    return ExecutionStatus(
        runner=runner,
        waits=wait_reason.explain_wait(context, execution),
        failure=explain_failure(execution),
        silent_since=lifecycle.compute_last_contact(execution) if silent else None,
        stop=choose_stop_label(execution),
        again=silent or execution.state in FINAL,
        origin=format_origin(context.db, execution),
    )


def explain_failure(execution: Execution) -> str:
    """Return why an execution failed, "" if it did not."""
    if execution.failure_reason == "command_failed" and execution.exit_code == NOT_FOUND:
        return "Command not found in the image"
    return FAILURES[execution.failure_reason] if execution.failure_reason else ""


def format_state(status: str, group: bool = False) -> str:
    """Return the state as pages show it. Only executions wait for a limit; `group` is a task, pipeline or node."""
    return "Waiting" if group and status == "created" else STATE_NAMES[status]


def choose_stop_label(execution: Execution) -> str:
    if execution.state in FINAL:
        return ""
    return "Kill" if execution.stop_requested_at else "Stop"


def compute_run_seconds(ran: Execution | Task | Pipeline) -> float | None:
    """Return how long it ran or has been running, None before its start."""
    if ran.started_at is None:
        return None
    return clock.count_seconds_between(ran.started_at, ran.ended_at or clock.now())
