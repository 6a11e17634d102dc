from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from core.states import FailureReason, State
from runner.containers.specs import Exit
from runner.execution.limits import Limits
from runner.execution.outcome import make_final_report
from runner.logs.progress import CommandProgress

LIMITS = Limits(memory=200_000_000, cpus=0.0, pids=4096, time_s=5400.0, no_output_s=45.5)


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    (tmp_path / "commands").touch()
    return tmp_path


def ended(
    spool: Path, told: str, exited: Exit, asked: State | FailureReason | None = None, limits: Limits = LIMITS
) -> tuple[str, str | None, str]:
    (spool / "commands").write_text(told)
    progress = CommandProgress(spool, ["first", "python train.py --lr=0.1", "last"])
    progress.poll()
    progress.close()
    report = make_final_report(1, exited, asked, progress, limits)
    return report.state, report.failure_reason, report.message or ""


@pytest.mark.parametrize(
    ("told", "exited", "asked", "state", "reason"),
    [
        ("start 1\nend 0\n", Exit(0), None, "complete", None),
        ("start 1\nexit 1 3\nend 3\n", Exit(3), None, "error", "command_failed"),
        ("start 1\nend 143\n", Exit(143), State.STOPPED, "stopped", None),
        ("start 1\nend 0\n", Exit(0), State.STOPPED, "stopped", None),
        ("start 1\n", Exit(137), State.STOPPED, "stopped", None),
        ("start 1\n", Exit(137), FailureReason.TIME_LIMIT, "error", "time_limit"),
        ("start 1\n", Exit(137), FailureReason.NO_OUTPUT, "error", "no_output"),
        ("start 1\nend 137\n", Exit(137, oom_killed=True), None, "error", "out_of_memory"),
        ("start 1\nend 0\n", Exit(0, oom_killed=True), None, "complete", None),
        ("start 1\nexit 1 1\npids\nend 1\n", Exit(1), None, "error", "pids"),
        ("start 1\npids\nend 0\n", Exit(0), None, "complete", None),
        ("start 1\npids\nend 1\n", Exit(1), State.STOPPED, "stopped", None),
        ("start 1\npids\nend 137\n", Exit(137, oom_killed=True), None, "error", "out_of_memory"),
        ("start 1\n", Exit(137), None, "error", "interrupted"),
        ("start 1\n", Exit(255), None, "error", "interrupted"),
        ("start 1\nend 137\n", Exit(137), None, "error", "command_failed"),
        ("", Exit(1), None, "error", "image"),
        ("end 2\n", Exit(2), None, "error", "command_failed"),
    ],
)
def test_every_way_a_container_ends_has_one_state_and_reason(
    spool: Path, told: str, exited: Exit, asked: State | FailureReason | None, state: str, reason: str | None
) -> None:
    assert ended(spool, told, exited, asked)[:2] == (state, reason)


def test_the_failed_command_is_named_with_its_exit_code(spool: Path) -> None:
    told = "start 1\nstart 2\nexit 2 139\nend 139\n"
    message = ended(spool, told, Exit(139))[2]
    assert message == "Command 2 of 3 exited with 139 (SIGSEGV): `python train.py --lr=0.1`"


def test_every_limit_is_named_with_its_value(spool: Path) -> None:
    killed = Exit(137, oom_killed=True)
    assert ended(spool, "", Exit(143), FailureReason.TIME_LIMIT)[2] == "It ran longer than its time limit of 1 h 30 min"
    silent = "It printed nothing for longer than its no-output limit of 45.5 s"
    assert ended(spool, "", Exit(143), FailureReason.NO_OUTPUT)[2] == silent
    assert ended(spool, "pids\nend 2\n", Exit(2))[2] == "It reached the limit of 4,096 processes and threads"
    assert ended(spool, "", killed)[2] == "The kernel ended a process of it at its memory limit of 191 MiB"
    unlimited = replace(LIMITS, memory=0)
    assert ended(spool, "", killed, limits=unlimited)[2].endswith("the machine ran out of memory")


@pytest.mark.parametrize(
    "told",
    [
        "start 99\n",
        "start 0\n",
        "start -1\n",
        "start \u0661\n",
        "exit 1\n",
        "start 1 2\n",
        "boom\n",
        "start 1" * 100_000,
    ],
)
def test_what_a_container_makes_up_in_the_commands_file_counts_for_nothing(spool: Path, told: str) -> None:
    (spool / "commands").write_text(told)
    progress = CommandProgress(spool, ["one", "two"])
    assert progress.poll() == []
    progress.close()


def test_a_flood_in_the_commands_file_is_cut(spool: Path) -> None:
    (spool / "commands").write_text("start 1\n" * 1_000_000)
    progress = CommandProgress(spool, ["one"])
    assert len([event for _ in range(100) for event in progress.poll()]) < 10
    progress.close()
