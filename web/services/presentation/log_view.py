"""The view of a log on its page: the lines that match a filter, and commands that are folded to their first line.

With a filter, the first line of each command stays, to show which command printed the lines.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path

from markupsafe import Markup

from core.model import Execution
from web.services.presentation import log_commands, loglines
from web.services.presentation.log_commands import Command
from web.store import log_search, logs
from web.store.log_search import Query, Span
from web.store.logs import LogLength, LogLine

SEARCH_S = 0.08  # about, for the lines of one window; backwards, they are found twice
EVERYTHING = Query()


@dataclass(frozen=True, kw_only=True)
class Window:
    """The log lines on the page: from `first` up to `next`, of `total`, counted from 0; `partial` are unfinished.

    `matches` says whether there is a line besides the first ones of commands.
    """

    first: int
    next: int
    total: int
    html: Markup
    partial: Markup
    matches: bool


@dataclass(frozen=True, kw_only=True)
class LogView:
    """A log with its filter, its commands, and the numbers of the folded ones, which show only their first line."""

    logs_dir: Path
    execution: Execution
    at: LogLength
    filter: Query = EVERYTHING
    commands: Sequence[Command] = ()
    folded: frozenset[int] = frozenset()

    def after(self, first: int, count: int) -> Window:
        """Return up to `count` lines from line `first` on; fewer if the time did not suffice to find them."""
        return self._window(first, *self._lines(first, self.at.lines, count, SEARCH_S))

    def before(self, end: int, count: int) -> Window:
        """Return about `count` lines up to line `end`; fewer if the time did not suffice to find them."""
        end = min(end, self.at.lines)
        first = max(0, end - count)
        if self.filter != EVERYTHING:
            span = Span(first=0, end=end, most=count, seconds=SEARCH_S / 2)
            first = log_search.find_tail_start(self.logs_dir, self.execution, self.at, self.filter, span)
        return self._window(first, *self._lines(first, end, end - first, float("inf")))

    def around(self, line: int, count: int) -> Window:
        """Return up to `count` lines, most of them from line `line` on."""
        first = max(0, line - count // 4)
        return self.after(first if self.filter != EVERYTHING else min(first, max(0, self.at.lines - count)), count)

    def _window(self, first: int, lines: list[LogLine], reached: int) -> Window:
        by_line = {command.first: command for command in self.commands}
        partial = filter_partial(self.at.partial, self.filter)
        return Window(
            first=min([first, *(line.number for line in lines[:1])]),
            next=reached,
            total=self.at.lines,
            html=Markup(loglines.render_chunks(lines, by_line)),  # noqa: S704  (escaped there)
            partial=Markup(loglines.render_partial(partial)),  # noqa: S704
            matches=any(line.number not in by_line for line in lines),
        )

    def _lines(self, first: int, end: int, count: int, seconds: float) -> tuple[list[LogLine], int]:
        """Return at most `count` lines from `first` up to `end`, and the line that was reached."""
        found, position, until = list[LogLine](), first, time.monotonic() + seconds
        folds = log_commands.iterate_folded(self.commands, self.folded, first)
        for command in takewhile(lambda one: one.first < end, folds):
            lines, position = self._between(position, command.first, count - len(found), until)
            found += lines
            if position < command.first or len(found) >= count:
                return found, position
            position = command.end or position
            found.append(replace(command.line, count=position - command.first))
        lines, position = self._between(position, end, count - len(found), until)
        return found + lines, position

    def _between(self, first: int, end: int, count: int, until: float) -> tuple[list[LogLine], int]:
        if first >= end or count <= 0:
            return [], first
        if self.filter == EVERYTHING:
            count = min(count, end - first)
            return list(logs.read(self.logs_dir, self.execution, self.at, first, count)), first + count
        span = Span(first=first, end=end, most=count, seconds=until - time.monotonic())
        found = log_search.search(self.logs_dir, self.execution, self.at, self.filter, span)
        heads = [one.line for one in self.commands if first <= one.first < found.reached]
        by_number = {line.number: line for line in (*heads, *found.lines)}
        lines = [by_number[number] for number in sorted(by_number)][:count]
        return lines, lines[-1].number + 1 if len(lines) == count else found.reached


def filter_lines(lines: Sequence[LogLine], wanted: Query) -> Iterator[LogLine]:
    """Yield the lines that a page with this filter shows."""
    return (line for line in lines if wanted == EVERYTHING or wanted.matches(line) or log_commands.is_start(line))


def filter_partial(partial: Mapping[str, str], wanted: Query) -> dict[str, str]:
    """Return the unfinished lines, by stream, that a page with this filter shows."""
    lines = {stream: LogLine(0, 0, stream, text.encode(errors="replace")) for stream, text in partial.items()}
    return {stream: text for stream, text in partial.items() if wanted.matches(lines[stream])}
