"""A file of log lines and its index of segments; `web.store.logs` puts the log of an execution together from them.

A segment is a batch of whole lines of one stream that arrived together. Its record in the index gives the number of its
first line, its offset, and the time span its lines were printed in; the lines in it share the span evenly. So no line
costs a row or a record of its own. The database holds the true lengths: whatever a killed process wrote beyond them is cut
off by the next append and never read.
"""

from __future__ import annotations

import itertools
import os
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from core.config import MIB
from core.wire import STREAMS

# first line, offset, first microsecond, span in microseconds, lines, stream
RECORD = struct.Struct("<QQQQIB3x")
SEGMENT_BYTES = 8 * MIB  # of the text of one batch at most
BOUND = 2**52  # of offsets and of times in microseconds, far above all real ones


@dataclass(frozen=True, slots=True)
class Segment:
    line: int
    offset: int
    first_us: int
    span_us: int
    lines: int
    stream: str

    def time_us(self, index: int) -> int:
        """When line `index` of this segment was printed: strictly increasing."""
        return self.first_us + (self.span_us * index) // self.lines


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line; `number` counts from 0 over all streams. `message` has no newline.

    `count` is how many lines it stands for: one that reports missing lines has their number.
    """

    number: int
    time_us: int
    stream: str
    message: bytes
    count: int = 1

    @property
    def text(self) -> str:
        return self.message.decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class Part:
    """A file of lines at `path` and `.log`, with its index at `path` and `.index`, as long as the database says."""

    path: Path
    size: int
    segments: int

    @property
    def files(self) -> tuple[Path, Path]:
        return self.path.with_name(f"{self.path.name}.log"), self.path.with_name(f"{self.path.name}.index")

    def append(self, text: bytes, segment: Segment) -> None:
        log, index = self.files
        log.parent.mkdir(parents=True, exist_ok=True)
        with _opened_at(log, self.size) as file:
            file.write(text)
        with _opened_at(index, self.segments * RECORD.size) as file:
            have = os.fstat(file.fileno()).st_size // RECORD.size
            if have < self.segments:  # it was lost: the index stays ordered by line, so that it can be searched
                file.seek(have * RECORD.size)
                empty = _record(replace(segment, lines=0))
                file.writelines(itertools.repeat(empty, self.segments - have))
            file.write(_record(segment))

    def lines(self, first: int, end: int, stream: str | None) -> Iterator[LogLine]:
        """The lines from `first` up to `end` that it has; those of another stream as one line for each segment."""
        log, index = self.files
        with ExitStack() as stack:
            text, records = stack.enter_context(_opened(log)), stack.enter_context(_opened(index))
            segments = min(self.segments, os.fstat(records.fileno()).st_size // RECORD.size)
            number = _segment_of(records.fileno(), segments, first)
            while number < segments and (segment := _segment(records.fileno(), number)).line < end:
                number += 1
                start, stop = max(first, segment.line), min(end, segment.line + segment.lines)
                if stream not in (None, segment.stream):
                    yield LogLine(start, segment.first_us, segment.stream, b"", max(0, stop - start))
                    continue
                following = _segment(records.fileno(), number).offset if number < segments else self.size
                text.seek(segment.offset)
                lines = text.read(min(max(0, following - segment.offset), SEGMENT_BYTES)).split(b"\n")[:-1]
                for i in range(start - segment.line, min(len(lines), stop - segment.line)):
                    yield LogLine(segment.line + i, segment.time_us(i), segment.stream, lines[i])

    def sync(self) -> None:
        """Make it durable."""
        for path in self.files:
            if path.exists():
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)

    def remove(self) -> None:
        for path in self.files:
            path.unlink(missing_ok=True)


@contextmanager
def _opened_at(path: Path, size: int) -> Iterator[BinaryIO]:
    """A file that the database says has `size` bytes, positioned behind them."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600), "wb") as file:
        if os.fstat(file.fileno()).st_size > size:
            file.truncate(size)
        file.seek(size)
        yield file


def _opened(path: Path) -> BinaryIO:
    """The file, empty when it is missing."""
    try:
        return path.open("rb")
    except FileNotFoundError:
        return open(os.devnull, "rb")


def _record(segment: Segment) -> bytes:
    stream = STREAMS.index(segment.stream)
    return RECORD.pack(segment.line, segment.offset, segment.first_us, segment.span_us, segment.lines, stream)


def _segment(descriptor: int, number: int) -> Segment:
    values = RECORD.unpack(os.pread(descriptor, RECORD.size, number * RECORD.size).ljust(RECORD.size, b"\0"))
    line, offset, first_us, span_us, lines, stream = values
    if stream >= len(STREAMS) or max(line, offset, first_us, span_us) >= BOUND:  # the disk was damaged
        return Segment(0, 0, 0, 0, 0, STREAMS[0])
    return Segment(line, offset, first_us, span_us, lines, STREAMS[stream])


def _segment_of(descriptor: int, segments: int, line: int) -> int:
    """The number of the segment that holds a line, by bisection."""
    low, high = 0, segments - 1
    while low < high:
        middle = (low + high + 1) // 2
        if _segment(descriptor, middle).line <= line:
            low = middle
        else:
            high = middle - 1
    return low
