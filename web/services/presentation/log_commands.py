"""The commands of an execution as sections of its log, from the status lines that its runner writes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from web.store.logs import LogLine

START = re.compile(r"Command ([0-9]{1,6}) of [0-9]{1,6}: ")
EXIT = re.compile(r"Command ([0-9]{1,6}) of [0-9]{1,6} exited with ([0-9]{1,3})\b")
ENDS = ("Uploaded ", "Outputs", "Finished in ")  # the first line after the last command


@dataclass(frozen=True, kw_only=True)
class Command:
    """Lines of the log from `first`, its status line, up to `end`, counted from 0; None while it runs.

    `code` is its exit code, None while it runs or if it was ended.
    """

    number: int
    line: LogLine
    end: int | None = None
    seconds: float | None = None
    code: int | None = None

    @property
    def first(self) -> int:
        return self.line.number


def parse_commands(status: Iterable[LogLine]) -> list[Command]:
    """Return the commands of a log in order, given its status lines."""
    found: list[Command] = []
    for line in status:
        if start := START.match(line.text):
            if found and found[-1].end is None:
                found[-1] = _ended(found[-1], line, line.number, 0)
            found.append(Command(number=int(start[1]), line=line))
        elif not found:
            continue
        elif found[-1].end is None and (end := EXIT.match(line.text)):
            found[-1] = _ended(found[-1], line, line.number + 1, int(end[2]))
        elif found[-1].end is None and line.text.startswith(ENDS):
            found[-1] = _ended(found[-1], line, line.number, None)
        if (
            found
            and found[-1].code is None
            and line.text.startswith("Finished in ")
            and line.text.endswith(": complete")
        ):
            found[-1] = replace(found[-1], code=0)
    return found


def is_start(line: LogLine) -> bool:
    """Return whether a line is the first one of a command."""
    return line.stream == "status" and START.match(line.text) is not None


def choose_folded_commands(found: list[Command], line: int | None = None) -> frozenset[int]:
    """Return the numbers of the commands that succeeded, except the last one and the one with the requested line."""
    return frozenset(
        one.number
        for one in found[:-1]
        if one.code == 0 and one.end is not None and (line is None or not one.first < line < one.end)
    )


def iterate_folded(found: Sequence[Command], folded: frozenset[int], first: int) -> Iterator[Command]:
    """Yield the folded commands that end after line `first`."""
    return (one for one in found if one.number in folded and one.end is not None and one.end > first)


def _ended(command: Command, line: LogLine, end: int, code: int | None) -> Command:
    return replace(command, end=end, code=code, seconds=max(0, line.time_us - command.line.time_us) / 1e6)
