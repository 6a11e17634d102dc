"""Find lines of a log without reading it line by line: those that contain a text, and those of the stream `status`.

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
from web.store.log_files import RECORD, LogLine, Part
from web.store.logs import LogLength

BLOCK_BYTES = 4 * 1024 * 1024
ERRORS = re.compile(rb"error|exception|traceback|fail(?:ed|ure)|fatal|panic")  # in a line without capital letters
RECORD_FIELDS = 6
STREAM_BYTE = RECORD.size - 4  # of an index record
STATUS_SEGMENTS = 5000  # at most, of the first part of a log


@dataclass(frozen=True, kw_only=True)
class Query:
    """A search for lines that contain `text`, and with `errors` also one of ERRORS. An empty field matches all lines."""

    text: bytes = b""
    stream: str = ""
    errors: bool = False

    def finder(self, block: bytes) -> Callable[[int], int]:
        """Return a function that finds the next match in a block from an offset on, or -1."""
        any_case = self.text == self.text.lower()
        sought = block.lower() if any_case else block
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
class Hits:
    """Numbers of lines, from 0, each once and in order. The search continues at line `next`; None at the log's end."""

    lines: list[int]
    next: int | None


def search(
    logs_dir: Path, execution: Execution, at: LogLength, query: Query, *, first: int, most: int, seconds: float
) -> Hits:
    """Return at most about `most` lines from `first` on; scans for about `seconds`, but at least a block of each file."""
    parts = list(logs.parts(logs_dir, execution, at, first, at.lines))
    found: set[int] = set()
    reached = at.lines
    for part in parts:
        lines, end = _search_part(part, query, first, most, time.monotonic() + seconds / len(parts))
        found.update(lines)
        reached = reached if end is None else min(reached, end)
    hits = sorted(line for line in found if line < reached)
    return Hits(lines=hits, next=reached if first < reached < at.lines else None)  # a damaged index may lead back


def status_lines(logs_dir: Path, execution: Execution, at: LogLength) -> Iterator[LogLine]:
    """Yield the lines of the stream `status` in the first part of a log."""
    part = next(logs.parts(logs_dir, execution, at, 0, at.lines))
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


def _search_part(part: Part, query: Query, first: int, most: int, until: float) -> tuple[list[int], int | None]:
    """Return the lines found, and the line that was reached; None at the end of the part."""
    log, index = part.files
    if not log.exists() or not index.exists() or not min(part.size, log.stat().st_size):
        return [], None
    with log.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        scan = _Scan(text, index.read_bytes()[: part.segments * RECORD.size])
        size = min(part.size, len(text))
        position, found = scan.offset_of(first), list[int]()
        while position < size:
            end = _end_of_block(text, position, size)
            for line in scan.lines(position, end, query):
                if line >= first:
                    found.append(line)
                if len(found) == most:
                    return found, line + 1
            position = end
            if position < size and time.monotonic() > until and (reached := scan.line_at(position)) > first:
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
        fields = fields or [(0,)] * RECORD_FIELDS
        self._lines, self._offsets, self._streams = fields[0], fields[1], fields[-1]

    def offset_of(self, line: int) -> int:
        """Return the offset of the segment that contains a line."""
        return int(self._offsets[max(0, bisect_right(self._lines, line) - 1)])

    def line_at(self, offset: int) -> int:
        number = self._segment_at(offset)
        return int(self._lines[number]) + self._text[self._offsets[number] : offset].count(b"\n")

    def lines(self, start: int, end: int, query: Query) -> Iterator[int]:
        """Yield the lines between two offsets that contain the text."""
        wanted = STREAMS.index(query.stream) if query.stream else None
        block = self._text[start:end]
        find = query.finder(block)
        at, known, line, counted = 0, -1, 0, 0
        while (found := find(at)) >= 0:
            hit = start + found
            number = self._segment_at(hit)
            if number != known:
                known, line, counted = number, int(self._lines[number]), int(self._offsets[number])
            line, counted = line + self._text[counted:hit].count(b"\n"), hit
            if wanted is None or self._streams[number] == wanted:
                yield line
            at = (block.find(b"\n", found) + 1) or len(block)

    def _segment_at(self, offset: int) -> int:
        return max(0, bisect_right(self._offsets, offset) - 1)
