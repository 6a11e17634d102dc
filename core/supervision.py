"""Keeps child processes running, for `pushmill up` and the runner: starts them, restarts those that exit, ends them."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Protocol

from core.errors import PushmillError

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
POLL_S = 0.02
KILLED_S = 0.5  # time for a killed process to disappear; one that hangs in the kernel does not


class Process(Protocol):
    """A child of this process."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal, or None while it runs."""


class Forked:
    """A child that runs `body` and exits, with code 1 after an error, which it prints.

    It runs nothing of its parent's frames. A parent with threads must not fork: their locks stay locked in the child.
    """

    def __init__(self, body: Callable[[], None]) -> None:
        self._exit_code: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                code = _exit_code_of(body)
            finally:
                os._exit(code)

    def poll(self) -> int | None:
        if self._exit_code is None:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            self._exit_code = os.waitstatus_to_exitcode(status) if ended else None
        return self._exit_code


def _exit_code_of(body: Callable[[], None]) -> int:
    try:
        body()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except PushmillError as error:
        print(f"pushmill: {error}", file=sys.stderr)
        return 1
    except BaseException:  # noqa: BLE001  as the interpreter does at its end
        traceback.print_exc()
        return 1
    return 0


@dataclass(frozen=True, kw_only=True)
class Backoff:
    """Seconds from an exit to the next start: `settled_s` after a life longer than `young_s`; otherwise `first_s`,
    doubled with each further exit up to `longest_s`."""

    young_s: float
    settled_s: float
    first_s: float
    longest_s: float


class Supervised:
    """A process that is restarted when it exits, after a pause that grows while it exits early."""

    def __init__(self, spawn: Callable[[], Process], backoff: Backoff) -> None:
        self.pause_s = 0.0  # between the last exit and the start after it
        self._spawn, self._backoff = spawn, backoff
        self._process: Process | None = None
        self._started_at = 0.0
        self._due: float | None = None

    @property
    def pid(self) -> int | None:
        """Return None while it does not run."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self) -> None:
        with uninterrupted():
            self._process = self._spawn()
        self._started_at, self._due = time.monotonic(), None

    def exit_code(self) -> int | None:
        """Return None while it runs."""
        return self._process.poll() if self._process else None

    def restart_if_due(self) -> bool:
        """Restart the process if it has exited and its pause is over; return whether it has just exited."""
        if self.exit_code() is None:
            return False
        now, just_exited = time.monotonic(), self._due is None
        if self._due is None:
            longer = min(self._backoff.longest_s, max(self._backoff.first_s, 2 * self.pause_s))
            self.pause_s = longer if now - self._started_at <= self._backoff.young_s else self._backoff.settled_s
            self._due = now + self.pause_s
        if now >= self._due:
            self.start()
        return just_exited

    def send(self, number: signal.Signals) -> None:
        """Send a signal if the process runs; SIGKILL also to everything that it started, if it leads a session."""
        if pid := self.pid:
            with suppress(ProcessLookupError):
                leads = number == signal.SIGKILL and os.getpgid(pid) == pid
                (os.killpg if leads else os.kill)(pid, number)


def stop(children: Sequence[Supervised], timeout: float) -> None:
    """Ask processes to exit, and after `timeout` seconds kill those that still run."""
    for number, patience in ((signal.SIGTERM, timeout), (signal.SIGKILL, KILLED_S)):
        for child in children:
            child.send(number)
        deadline = time.monotonic() + patience
        while any(child.pid for child in children) and time.monotonic() < deadline:
            time.sleep(POLL_S)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Delay stop signals: one between starting a process and recording its pid would leave the process behind."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def unblock_stop_signals() -> None:
    """Undo `uninterrupted` in a new process, which inherits the blocked signals."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
