"""Derives the final report from how a container ended; no I/O."""

from __future__ import annotations

from core.states import FailureReason, State
from core.units import format_limit, format_size
from core.wire import FinalReport
from runner.containers.specs import Exit
from runner.execution.limits import Limits
from runner.logs.progress import CommandEvent, CommandProgress, format_exit_code


def make_failed_report(attempt: int, reason: FailureReason, message: str, exit_code: int | None = None) -> FinalReport:
    state = State.ERROR
    return FinalReport(attempt=attempt, state=state, failure_reason=reason, message=message, exit_code=exit_code)


def make_stopped_report(attempt: int, exit_code: int | None = None) -> FinalReport:
    return FinalReport(attempt=attempt, state=State.STOPPED, exit_code=exit_code)


def make_final_report(
    attempt: int, exited: Exit, asked: State | FailureReason | None, progress: CommandProgress, limits: Limits
) -> FinalReport:
    """Return the report of a container that ran. `asked` is why the runner ended it, None if it ended by itself.

    PID 1 records the script's exit code before it exits itself; without the record a signal from outside ended the
    container.
    """
    code = exited.code
    if asked is State.STOPPED:
        return make_stopped_report(attempt, code)
    if isinstance(asked, FailureReason):
        return make_failed_report(attempt, asked, _limit_message(asked, limits), code)
    if code == 0:
        return FinalReport(attempt=attempt, state=State.COMPLETE, exit_code=0)
    if exited.oom_killed:
        return make_failed_report(attempt, FailureReason.OUT_OF_MEMORY, _out_of_memory(limits), code)
    if progress.out_of_pids:
        message = f"It reached the limit of {limits.pids:,} processes and threads"
        return make_failed_report(attempt, FailureReason.PIDS, message, code)
    if progress.ended is None and code >= 128:
        detail = exited.error or f"exit code {format_exit_code(code)}"
        message = f"The container was ended from outside ({detail}); did Docker or the machine restart?"
        return make_failed_report(attempt, FailureReason.INTERRUPTED, message, code)
    if progress.ended is None and not progress.started:
        message = (
            f"The container ended with {code} before the commands began; is the image for this machine's processor?"
        )
        return make_failed_report(attempt, FailureReason.IMAGE, message, code)
    return make_failed_report(attempt, FailureReason.COMMAND_FAILED, _command(code, progress), code)


def _limit_message(reason: FailureReason, limits: Limits) -> str:
    if reason is FailureReason.TIME_LIMIT:
        return f"It ran longer than its time limit of {format_limit(limits.time_s)}"
    return f"It printed nothing for longer than its no-output limit of {format_limit(limits.no_output_s)}"


def _out_of_memory(limits: Limits) -> str:
    if not limits.memory:
        return "The kernel ended a process of it: the machine ran out of memory"
    return f"The kernel ended a process of it at its memory limit of {format_size(limits.memory)}"


def _command(code: int, progress: CommandProgress) -> str:
    event = progress.failed or CommandEvent("exit", progress.started, code)
    sentence = progress.sentence(event) if event.command and event.code == code else None
    return sentence or f"The script exited with {format_exit_code(code)}"
