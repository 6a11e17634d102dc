"""A file of log lines and its index of segments; `web.store.logs` assembles the log of an execution from such files.

A segment is a batch of whole lines of one stream that arrived together. Its index record contains the number of its
first line, its offset, and the time span in which its lines were printed; the lines share the span evenly, so that no
line needs a row or a record. The database contains the valid lengths: data that a killed process wrote beyond them is
never read, and is cut off by the next append.
"""

from __future__ import annotations

import itertools
import os
import struct
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from core.config import MIB
from core.wire import STREAMS

# first line, offset, first microsecond, span in microseconds, lines, stream
RECORD = struct.Struct("<QQQQIB3x")
SEGMENT_BYTES = 8 * MIB  # maximum size of the text of one batch
WRITE_BYTES = MIB  # written at once: ext4 on Linux 6.18 takes six times as long for 6 MiB in one write, not for 2 MiB
METRIC = b'{"'  # the beginning of a line that prints metadata
BOUND = 2**52  # bound of offsets and of times in microseconds, far above all real values


@dataclass(frozen=True, slots=True)
class Segment:
    line: int
    offset: int
    first_us: int
    span_us: int
    lines: int
    stream: str

    def time_us(self, index: int) -> int:
        """Return when line `index` of this segment was printed; strictly increasing."""
        return self.first_us + (self.span_us * index) // self.lines

    def times_us(self, indexes: Iterable[int]) -> list[int]:
        first_us, span_us, lines = self.first_us, self.span_us, self.lines
        return [first_us + (span_us * index) // lines for index in indexes]


@dataclass(frozen=True, slots=True)
class LogLine:
    """A log line; `number` counts from 0 over all streams. `message` has no newline.

    `count` is the number of lines it represents: more than 1 for a line that reports missing lines.
    """

    number: int
    time_us: int
    stream: str
    message: bytes
    count: int = 1

    @property
    def text(self) -> str:
        return self.message.decode("utf-8", "replace")

    @property
    def is_metric(self) -> bool:
        return self.stream == "stdout" and self.message.startswith(METRIC)


@dataclass(frozen=True, slots=True)
class Part:
    """A file of lines, `path` + `.log`, and its index, `path` + `.index`, with their lengths from the database."""

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
            for start in range(0, len(text), WRITE_BYTES):
                file.write(memoryview(text)[start : start + WRITE_BYTES])
        with _opened_at(index, self.segments * RECORD.size) as file:
            have = os.fstat(file.fileno()).st_size // RECORD.size
            if have < self.segments:  # records were lost: fill up, so that the index stays ordered by line
                file.seek(have * RECORD.size)
                empty = _record(replace(segment, lines=0))
                file.writelines(itertools.repeat(empty, self.segments - have))
            file.write(_record(segment))

    def lines(self, first: int, end: int, stream: str | None) -> Iterator[LogLine]:
        """Yield the stored lines from `first` up to `end`; segments of other streams as one line each."""
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
        """Flush both files to the disk."""
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
    """Open a file positioned at `size`, its length in the database; data beyond is cut off."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600), "wb") as file:
        if os.fstat(file.fileno()).st_size > size:
            file.truncate(size)
        file.seek(size)
        yield file


def _opened(path: Path) -> BinaryIO:
    """Open a file; a missing one reads as empty."""
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
    if stream >= len(STREAMS) or max(line, offset, first_us, span_us) >= BOUND:  # the index is damaged
        return Segment(0, 0, 0, 0, 0, STREAMS[0])
    return Segment(line, offset, first_us, span_us, lines, STREAMS[stream])


def _segment_of(descriptor: int, segments: int, line: int) -> int:
    """Return the number of the segment that contains a line, by bisection."""
    low, high = 0, segments - 1
    while low < high:
        middle = (low + high + 1) // 2
        if _segment(descriptor, middle).line <= line:
            low = middle
        else:
            high = middle - 1
    return low
