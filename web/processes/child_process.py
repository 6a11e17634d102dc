"""The processes that `pushmill up` keeps running. Each has its own session, so the terminal's Ctrl-C reaches only us.

Each has a pid file, so a killed `pushmill up` leaves no process that the next one cannot find.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from core import supervision
from core.supervision import STOP_SIGNALS, Backoff, Forked, Supervised, unblock_stop_signals

LOG_BYTES = 8 * 1024 * 1024  # most bytes of a log file; one older file of the same size is kept
BACKOFF = Backoff(young_s=60.0, settled_s=0.5, first_s=0.5, longest_s=30.0)
LEFTOVER_S = 6.0  # time for a process left by a killed start to exit on its own


class Child(Supervised):
    """A supervised process, forked from this one, with a log file.

    It runs `body` as the leader of a session, without stdin, and of our files it has only `keep` open.
    """

    def __init__(
        self, name: str, body: Callable[[], None], *, log: Path, pid_file: Path, keep: int | None = None
    ) -> None:
        super().__init__(lambda: Forked(self._run), BACKOFF)
        self.name, self.log = name, log
        self._body, self._pid_file, self._keep = body, pid_file, keep

    def _run(self) -> None:
        os.setsid()
        # itself, and before anything else: the parent may be killed at any moment
        self._pid_file.write_text(f"{os.getpid()} {read_begin_time(os.getpid())}\n", encoding="ascii")
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        unblock_stop_signals()
        self._set_files()
        Path("/proc/self/comm").write_text(f"pushmill {self.name}", encoding="ascii")  # as `top` and `ps -e` show it
        self._body()

    def _set_files(self) -> None:
        """Close the parent's open files: a lock of the parent would live as long as this process."""
        with open(os.devnull, "rb") as nothing, open(self.log, "ab", opener=_private) as log:
            os.dup2(nothing.fileno(), 0)
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        sys.stdout = sys.stderr  # which writes each line at once
        keep = self._keep or 2
        os.closerange(3, keep)
        os.closerange(keep + 1, os.sysconf("SC_OPEN_MAX"))

    def tend(self) -> str | None:
        """Restart the process if it exited and its pause is over; return a sentence for the terminal if it exited."""
        rotate_log(self.log)
        if not self.restart_if_due():
            return None
        return f"{self.name} {self.exit_text()}; it starts again in {self.pause_s:g} s"

    def exit_text(self) -> str:
        """Return how it exited, with the last line of its log."""
        last = read_last_line(self.log)
        return f"ended with {_how(self.exit_code() or 0)}{f': {last}' if last else ''} (log: {self.log})"

    def stop(self, timeout: float) -> None:
        """Ask it to exit, wait, and after `timeout` seconds kill it with everything it started."""
        supervision.stop([self], timeout)
        self._pid_file.unlink(missing_ok=True)


def spawn(argv: Sequence[str], log: Path, env: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start `argv` as `start_session` does, with its output appended to `log`."""
    with open(log, "ab", opener=_private) as output:
        return start_session(argv, env, output)


def start_session(argv: Sequence[str], env: Mapping[str, str], output: IO[bytes] | None) -> subprocess.Popen[bytes]:
    """Start `argv` as the leader of a session, without stdin; its output goes to `output` (None: to our own output)."""
    return subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT if output else None,
        env=dict(env),
        start_new_session=True,
        preexec_fn=unblock_stop_signals,
    )


def end_leftover(pid_file: Path) -> None:
    """End the process left by a killed start, whose pid is in the pid file, unless that pid was reused since."""
    with suppress(OSError, ValueError):
        pid, began = pid_file.read_text(encoding="ascii").split()
        if began == read_begin_time(int(pid)):
            end(int(pid), LEFTOVER_S)


def end(pid: int, timeout: float) -> None:
    """End a process that is not our child: SIGTERM, and SIGKILL to its session after `timeout` seconds."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        if not wait_until_gone(pid, timeout):
            os.killpg(pid, signal.SIGKILL)
            wait_until_gone(pid, 1.0)


def wait_until_gone(pid: int, timeout: float) -> bool:
    """Wait until the process does not exist or is a zombie; return whether that is so."""
    deadline = time.monotonic() + timeout
    while is_running(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        state, threads = _stat(pid)[0], int(_stat(pid)[17])
        return state != "Z" or threads > 1  # the other threads still hold its files, and its port
    except ProcessLookupError:
        return False
    except OSError:
        return True  # it exists, but is not ours; or the system has no /proc


def read_begin_time(pid: int) -> str:
    """Return the start time of a process in clock ticks since boot: with its pid it is unique (proc(5), stat)."""
    return _stat(pid)[19]


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/<pid>/stat from the state on; the name before may contain parentheses and spaces."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()


def rotate_log(path: Path, limit: int = LOG_BYTES) -> None:
    """Keep a log file that a process appends to below `limit` bytes: its content moves to `<name>.1`."""
    with suppress(FileNotFoundError):
        if path.stat().st_size > limit:
            shutil.copyfile(path, path.with_name(f"{path.name}.1"))
            os.truncate(path, 0)


def read_last_line(path: Path) -> str:
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
