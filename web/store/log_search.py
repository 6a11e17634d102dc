"""Find lines of a log without reading it line by line: those that match a query, and those of the stream `status`.

A search scans the files in blocks, for a bounded time, and can be continued from the line that it reached. A text
without capital letters is found in any case, of ASCII letters.
"""

from __future__ import annotations

import mmap
import re
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from core.model import Execution
from core.wire import STREAMS
from web.store import logs
from web.store.log_files import METRIC, RECORD, LogLine, Part, Segment
from web.store.logs import LogLength

BLOCK_BYTES = 4 * 1024 * 1024
FOUND_BYTES = 8 * 1024 * 1024  # most bytes of messages in one answer, unless a single one is longer
ERRORS = re.compile(rb"error|exception|traceback|fail(?:ed|ure)|fatal|panic")  # in a line without capital letters
RECORD_FIELDS = 6
STREAM_BYTE = RECORD.size - 4  # place of the stream in an index record
STATUS_SEGMENTS = 5000  # most segments that are searched in the first part of a log
WINDOW_LINES, WIDER = 2000, 8  # lines of the first window of a search backwards, and how much wider the next ones are


@dataclass(frozen=True, kw_only=True)
class Query:
    """Which lines are wanted; all conditions must hold, and `Query()` matches every line.

    `text` is a part of the line, `errors` asks for one of the words of ERRORS, `stream` "" means all streams, `metrics`
    false leaves out the lines that print metadata.
    """

    text: bytes = b""
    stream: str = ""
    errors: bool = False
    metrics: bool = True

    def matches(self, line: LogLine) -> bool:
        return (
            self.stream in ("", line.stream)
            and (self.metrics or not line.is_metric)
            and self.finder(line.message + b"\n")(0) >= 0
        )

    def finder(self, block: bytes) -> Callable[[int], int]:
        """Return a function that finds the next match from an offset of a block on, or -1, by text and errors only."""
        any_case = self.text == self.text.lower()
        sought = block.lower() if any_case and (self.text or self.errors) else block
        if not self.errors:
            return lambda at: sought.find(self.text or b"\n", at)
        lowered = sought if any_case else block.lower()

        def find(at: int) -> int:
            while (match := ERRORS.search(lowered, at)) is not None:
                begin, end = block.rfind(b"\n", 0, match.start()) + 1, block.find(b"\n", match.start())
                if sought.find(self.text, begin, end if end >= 0 else len(block)) >= 0:
                    return match.start()
                at = end + 1 if end >= 0 else len(block)
            return -1

        return find


@dataclass(frozen=True, kw_only=True)
class Span:
    """Lines from `first` up to `end`, and what a search may take: about `most` lines and about `seconds`."""

    first: int
    end: int
    most: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Found:
    """The matching lines before line `reached`, each once and in order. At the span's end the search is over."""

    lines: list[LogLine]
    reached: int


def search(logs_dir: Path, execution: Execution, at: LogLength, query: Query, span: Span) -> Found:
    """Return the matching lines of a span; scans at least a block of each file."""
    parts = list(logs.iterate_parts(logs_dir, execution, at, span.first, span.end))
    found: dict[int, LogLine] = {}
    reached = span.end
    for part in parts:
        lines, end = _search_part(part, query, span, time.monotonic() + span.seconds / len(parts))
        found.update((line.number, line) for line in lines)
        reached = reached if end is None else min(reached, end)
    if reached <= span.first:  # a damaged index leads back
        reached = span.end
    return Found(lines=[found[number] for number in sorted(found) if number < reached], reached=reached)


def find_tail_start(logs_dir: Path, execution: Execution, at: LogLength, query: Query, span: Span) -> int:
    """Return the line from which on about `most` lines of the span match; fewer if the time did not suffice."""
    until, first, width, found = time.monotonic() + span.seconds, span.end, WINDOW_LINES, list[int]()
    while first > span.first and len(found) < span.most and time.monotonic() < until:
        window = Span(first=max(span.first, first - width), end=first, most=width, seconds=until - time.monotonic())
        part = search(logs_dir, execution, at, query, window)
        if part.reached < first:  # many bytes
            if first < span.end or width == 1:
                break
            width = max(1, width // WIDER)
            continue
        found = [line.number for line in part.lines] + found
        first, width = window.first, width * WIDER
    if first == span.end:
        return max(span.first, span.end - 1)
    return found[-span.most] if len(found) >= span.most else first


def iterate_status_lines(logs_dir: Path, execution: Execution, at: LogLength) -> Iterator[LogLine]:
    """Yield the lines of the stream `status` in the first part of a log."""
    part = next(logs.iterate_parts(logs_dir, execution, at, 0, at.lines))
    _, index = part.files
    if not index.exists():
        return
    records = index.read_bytes()[: part.segments * RECORD.size]
    streams, number = records[STREAM_BYTE :: RECORD.size], -1
    for _ in range(STATUS_SEGMENTS):
        number = streams.find(STREAMS.index("status"), number + 1)
        if number < 0:
            return
        line, _, _, _, lines, _ = RECORD.unpack_from(records, number * RECORD.size)
        yield from part.lines(line, min(line + lines, at.lines), "status")


def _search_part(part: Part, query: Query, span: Span, until: float) -> tuple[list[LogLine], int | None]:
    """Return the lines found, and the line that was reached; None at the end of the span."""
    log, index = part.files
    if not log.exists() or not index.exists() or not min(part.size, log.stat().st_size):
        return [], None
    with log.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        scan = _Scan(text, index.read_bytes()[: part.segments * RECORD.size])
        size = min(part.size, len(text), scan.end_of(span.end))
        position, found, room = scan.offset_of(span.first), list[LogLine](), FOUND_BYTES
        while position < size:
            end = _end_of_block(text, position, size)
            for line in scan.lines(position, end, query):
                if line.number >= span.end:
                    return found, None
                if line.number >= span.first:
                    found.append(line)
                    room -= len(line.message)
                    if len(found) == span.most or room < 0:
                        return found, line.number + 1
            position = end
            if position < size:
                reached = scan.line_at(position)
                if reached >= span.end:
                    return found, None
                if time.monotonic() > until and reached > span.first:
                    return found, reached
    return found, None


def _end_of_block(text: mmap.mmap, position: int, size: int) -> int:
    """Return the end of the last whole line in a block; a longer line is taken whole."""
    end = position + BLOCK_BYTES
    if end >= size:
        return size
    return text.rfind(b"\n", position, end) + 1 or text.find(b"\n", end, size) + 1 or size


class _Scan:
    """A file of lines and its index: which line is at which offset."""

    def __init__(self, text: mmap.mmap, records: bytes) -> None:
        whole = records[: len(records) // RECORD.size * RECORD.size]
        fields: list[tuple[int, ...]] = list(zip(*RECORD.iter_unpack(whole), strict=True))
        self._text = text
        self._fields = fields or [(0,)] * RECORD_FIELDS
        self._lines, self._offsets, self._streams = self._fields[0], self._fields[1], self._fields[-1]

    def offset_of(self, line: int) -> int:
        """Return the offset of the segment that contains a line."""
        return int(self._offsets[max(0, bisect_right(self._lines, line) - 1)])

    def end_of(self, line: int) -> int:
        """Return the end of the segment that contains a line."""
        return self._offset_after(max(0, bisect_right(self._lines, line) - 1))

    def line_at(self, offset: int) -> int:
        number = self._segment_at(offset)
        return int(self._lines[number]) + self._text[self._offsets[number] : offset].count(b"\n")

    def lines(self, start: int, end: int, query: Query) -> Iterator[LogLine]:
        """Yield the matching lines between two offsets."""
        block = self._text[start:end]
        find = query.finder(block)
        at, known, line, counted = 0, -1, 0, 0
        segment = self._segment(0)
        while (found := find(at)) >= 0:
            hit = start + found
            number = self._segment_at(hit)
            if number != known:
                known, segment = number, self._segment(number)
                line, counted = segment.line, segment.offset
            if query.stream not in ("", segment.stream):
                at = max(block.find(b"\n", found) + 1 or len(block), self._offset_after(number) - start)
                continue
            line, counted = line + self._text[counted:hit].count(b"\n"), hit
            begin, over = block.rfind(b"\n", 0, found) + 1, block.find(b"\n", found)
            at = over + 1 or len(block)
            if query.metrics or segment.stream != "stdout" or not block.startswith(METRIC, begin):
                message = block[begin : over if over >= 0 else len(block)]
                yield LogLine(line, segment.time_us(line - segment.line), segment.stream, message)

    def _segment(self, number: int) -> Segment:
        line, offset, first_us, span_us, lines, stream = (field[number] for field in self._fields)
        return Segment(line, offset, first_us, span_us, max(1, lines), STREAMS[min(stream, len(STREAMS) - 1)])

    def _segment_at(self, offset: int) -> int:
        return max(0, bisect_right(self._offsets, offset) - 1)

    def _offset_after(self, number: int) -> int:
        return int(self._offsets[number + 1]) if number + 1 < len(self._offsets) else len(self._text)
