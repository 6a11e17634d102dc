"""Tracks which command of the step runs, from the `commands` file that the script and main.sh append to.

The container can write anything there, so only lines in the exact format count, and their number is limited by that of
the commands.

Between two commands the script writes `start N` or `exit N CODE` to the `commands` file and then, as a framed mark,
into both pipes. The shipper sends both streams up to the mark, then the status line about the command, then the rest,
so that log order is time order. Marks that the `commands` file does not announce are output. A mark that does not
arrive within a second, because a command closed the pipe, is skipped. An unfinished line of a command ends at the mark.
"""

from __future__ import annotations

import os
import re
import signal
from dataclasses import dataclass
from pathlib import Path

from core.wire import MARK_BEGIN, MARK_END
from runner.logs.spool import open_file

OUT_OF_PIDS = b"pids"  # main.sh writes this when the kernel refused a process or thread
LINE = re.compile(rb"(start|exit|end) ([0-9]{1,6})(?: ([0-9]{1,3}))?")
SHOWN = 300  # most characters of a command in a sentence
READ_LIMIT = 256 * 1024


def format_exit_code(code: int) -> str:
    """Format an exit code, with the name of the signal that a shell encodes in it."""
    try:
        return f"{code} ({signal.Signals(code - 128).name})"
    except ValueError:
        return str(code)


@dataclass(frozen=True, slots=True)
class CommandEvent:
    """A line of the `commands` file.

    `kind` is start, exit, pids or end; `command` counts from 1 (0 for pids and end); `code` is 0 for start and pids.
    """

    kind: str
    command: int
    code: int = 0

    @property
    def mark(self) -> bytes:
        """The bytes that the script writes into both streams at this point; see web.config.steps.shell_script."""
        text = f"start {self.command}" if self.kind == "start" else f"exit {self.command} {self.code}"
        return f"{MARK_BEGIN}{text}{MARK_END}".encode()


class CommandProgress:
    """Follows the `commands` file of one execution."""

    def __init__(self, spool: Path, commands: list[str]) -> None:
        self._descriptor = open_file(spool, "commands")
        self._commands = commands
        self._position = 0
        self._rest = b""
        self._events_left = 4 * len(commands) + 4
        self.started = 0  # the last command that began
        self.failed: CommandEvent | None = None  # the last command that returned non-zero
        self.out_of_pids = False  # the kernel refused a process or thread
        self.ended: int | None = None  # the script's exit code as PID 1 saw it

    def poll(self) -> list[CommandEvent]:
        """Return the events since the last call."""
        room = READ_LIMIT - self._position
        data = os.pread(self._descriptor, max(0, min(room, 16 * 1024)), self._position)
        self._position += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        events = [event for line in lines if (event := self._event(line)) is not None]
        for event in events:
            self._note(event)
        return events

    def sentence(self, event: CommandEvent) -> str | None:
        """The status line for an event; None for events without one."""
        where = f"Command {event.command} of {len(self._commands)}"
        if event.kind == "start":
            return f"{where}: {self._shown(event.command)}"
        if event.kind == "exit" and event.code:
            return f"{where} exited with {format_exit_code(event.code)}: `{self._shown(event.command)}`"
        return None

    def close(self) -> None:
        os.close(self._descriptor)

    def _event(self, line: bytes) -> CommandEvent | None:
        match = LINE.fullmatch(line)
        if self._events_left <= 0 or (match is None and line != OUT_OF_PIDS):
            return None
        if match is None:
            self._events_left -= 1
            return CommandEvent("pids", 0)
        kind, number, code = match.group(1).decode(), int(match.group(2)), match.group(3)
        if kind == "end":
            event = CommandEvent(kind, 0, number)
        elif 1 <= number <= len(self._commands) and (code is None) == (kind == "start"):
            event = CommandEvent(kind, number, int(code or 0))
        else:
            return None
        self._events_left -= 1
        return event

    def _note(self, event: CommandEvent) -> None:
        if event.kind == "start":
            self.started = event.command
        elif event.kind == "pids":
            self.out_of_pids = True
        elif event.kind == "end":
            self.ended = event.code
        elif event.code:
            self.failed = event

    def _shown(self, number: int) -> str:
        first, *more = self._commands[number - 1].strip().split("\n")
        return first[:SHOWN] + ("…" if more or len(first) > SHOWN else "")
