"""The processes that `pushmill up` keeps running. Each has its own session, so the terminal's Ctrl-C reaches only us.

Each has a pid file, so a killed `pushmill up` leaves no process that the next one cannot find.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from core import supervision
from core.supervision import Backoff, Supervised, unblock_stop_signals

LOG_BYTES = 8 * 1024 * 1024  # of each log file; one older file of the same size is kept
BACKOFF = Backoff(young_s=60.0, settled_s=0.5, first_s=0.5, longest_s=30.0)
LEFTOVER_S = 6.0  # for a process left by a killed start to exit on its own


class Child(Supervised):
    """A supervised process with a log file."""

    def __init__(self, name: str, argv: Sequence[str], *, log: Path, pid_file: Path, env: Mapping[str, str]) -> None:
        super().__init__(lambda: spawn(argv, log, env, pid_file), BACKOFF)
        self.name, self.log, self._pid_file = name, log, pid_file

    def end_leftover(self) -> bool:
        """End the process left by a killed start, whose pid is in the pid file, unless that pid was reused since.

        Returns False if no start was killed.
        """
        killed = self._pid_file.exists()
        with suppress(OSError, ValueError):
            pid, began = self._pid_file.read_text(encoding="ascii").split()
            if began == begin_time(int(pid)):
                end(int(pid), LEFTOVER_S)
        return killed

    def tend(self) -> str | None:
        """Restart the process if it exited and its pause is over; return a sentence for the terminal if it exited."""
        bound_log(self.log)
        if not self.restart_if_due():
            return None
        return f"{self.name} {self.obituary()}; it starts again in {self.pause_s:g} s"

    def obituary(self) -> str:
        """Return how it exited, with the last line of its log."""
        last = last_line(self.log)
        return f"ended with {_how(self.exit_code() or 0)}{f': {last}' if last else ''} (log: {self.log})"

    def stop(self, timeout: float) -> None:
        """Ask it to exit, wait, and after `timeout` seconds kill it with everything it started."""
        supervision.stop([self], timeout)
        self._pid_file.unlink(missing_ok=True)


def spawn(
    argv: Sequence[str], log: Path, env: Mapping[str, str], pid_file: Path | None = None
) -> subprocess.Popen[bytes]:
    """Start `argv` as `start_session` does, with its output appended to `log`."""
    with open(log, "ab", opener=_private) as output:
        return start_session(argv, env, output, pid_file)


def start_session(
    argv: Sequence[str], env: Mapping[str, str], output: IO[bytes] | None, pid_file: Path | None = None
) -> subprocess.Popen[bytes]:
    """Start `argv` as the leader of a session, without stdin; its output goes to `output` (None: to our own output).

    It writes its pid file itself, before anything else: the starting process may be killed at any moment.
    """

    def begin() -> None:
        unblock_stop_signals()
        if pid_file is not None:
            pid_file.write_text(f"{os.getpid()} {begin_time(os.getpid())}\n", encoding="ascii")

    return subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT if output else None,
        env=dict(env),
        start_new_session=True,
        preexec_fn=begin,
    )


def end(pid: int, timeout: float) -> None:
    """End a process that is not our child: SIGTERM, and SIGKILL to its session after `timeout` seconds."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        if not gone(pid, timeout):
            os.killpg(pid, signal.SIGKILL)
            gone(pid, 1.0)


def gone(pid: int, timeout: float) -> bool:
    """Wait until the process does not exist or is a zombie; return whether that is so."""
    deadline = time.monotonic() + timeout
    while running(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return _stat(pid)[0] != "Z"
    except ProcessLookupError:
        return False
    except OSError:
        return True  # it exists, but is not ours; or the system has no /proc


def begin_time(pid: int) -> str:
    """Return the start time of a process in clock ticks since boot: with its pid it is unique (proc(5), stat)."""
    return _stat(pid)[19]


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/<pid>/stat from the state on; the name before may contain parentheses and spaces."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()


def bound_log(path: Path, limit: int = LOG_BYTES) -> None:
    """Keep a log file that a process appends to below `limit` bytes: its content moves to `<name>.1`."""
    with suppress(FileNotFoundError):
        if path.stat().st_size > limit:
            shutil.copyfile(path, path.with_name(f"{path.name}.1"))
            os.truncate(path, 0)


def last_line(path: Path) -> str:
    """Return the last non-empty line of a log file, shortened."""
    try:
        with open(path, "rb") as log:
            log.seek(max(0, path.stat().st_size - 4096))
            lines = log.read().decode("utf-8", "replace").split("\n")
    except OSError:
        return ""
    return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "")


def _how(exit_code: int) -> str:
    if exit_code >= 0:
        return f"exit code {exit_code}"
    with suppress(ValueError):
        return signal.Signals(-exit_code).name
    return f"signal {-exit_code}"


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
