"""The log of an execution: one append-only file of lines, and beside it an index of segments.

A segment is a batch of whole lines of one stream that arrived together. Its record in the index file gives the number of
its first line, its offset, and the time span its lines were printed in; the lines in it share the span evenly. So no line
costs a row or a record of its own. The row of the execution holds the true lengths: whatever a killed process wrote
beyond them is cut off by the next append and never read.
"""

from __future__ import annotations

import itertools
import json
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from sqlite_utils import Database

from core.config import MIB
from core.errors import NotFound
from core.model import Execution
from core.wire import STREAMS, LogBatch
from web.store.db import execute, row

# first line, offset, first microsecond, span in microseconds, lines, stream
RECORD = struct.Struct("<QQQQIB3x")
SEGMENT_BYTES = 8 * MIB  # of the text of one batch at most
PARTIAL_CHARACTERS = 4096
BOUND = 2**52  # of offsets and of times in microseconds, far above all real ones
MESSAGE_BYTES = 16 * 1024  # a longer line is shown as several messages
UTF8_BYTES = 4  # of one character at most


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
class LogLength:
    """What the database says of a log.

    `acknowledged` maps streams to stored spool bytes, and `partial` those that have an unfinished line to its text.
    """

    bytes: int
    lines: int
    segments: int
    last_us: int
    acknowledged: dict[str, int]
    partial: dict[str, str]


def paths(logs_dir: Path, execution: Execution) -> tuple[Path, Path]:
    folder = logs_dir / execution.uuid[:2]
    return folder / f"{execution.uuid}.log", folder / f"{execution.uuid}.index"


def length(db: Database, execution: Execution) -> LogLength:
    columns = "log_bytes, log_lines, log_segments, log_last_us, acknowledged, log_partial"
    found = row(db, f"SELECT {columns} FROM execution WHERE id = ?", (execution.id,))
    if found is None:
        raise NotFound(f"there is no execution {execution.uuid}")
    acknowledged = dict.fromkeys(STREAMS, 0) | json.loads(found["acknowledged"])
    return LogLength(
        found["log_bytes"],
        found["log_lines"],
        found["log_segments"],
        found["log_last_us"],
        acknowledged,
        json.loads(found["log_partial"]),
    )


def append(
    db: Database, logs_dir: Path, execution: Execution, at: LogLength, batch: LogBatch, text: bytes
) -> Segment | None:
    """Add a batch after `at`, the present length; None when it held no line. Call inside a transaction.

    The caller has checked that `batch.start` is the acknowledged offset of its stream.
    """
    lines = text.count(b"\n")
    first_us = max(batch.first_us, at.last_us + 1)
    span_us = max(batch.last_us - first_us, lines * _most_messages(text))
    segment = Segment(at.lines, at.bytes, first_us, span_us, lines, batch.stream)
    if lines:
        _write(logs_dir, execution, at, text, segment)
    after = {
        "log_bytes": at.bytes + len(text),
        "log_lines": at.lines + lines,
        "log_segments": at.segments + (1 if lines else 0),
        "log_last_us": first_us + span_us if lines else at.last_us,
        "acknowledged": json.dumps(at.acknowledged | {batch.stream: batch.end}),
        "log_partial": json.dumps({stream: text for stream, text in at.partial.items() if stream != batch.stream}),
    }
    assignments = ", ".join(f"{name} = ?" for name in after)
    execute(db, f"UPDATE execution SET {assignments} WHERE id = ?", [*after.values(), execution.id])
    return segment if lines else None


def set_partial(db: Database, execution: Execution, stream: str, start: int, text: str) -> None:
    """Set the unfinished line of a stream, unless more is stored by now. Call inside a transaction."""
    at = length(db, execution)
    if at.acknowledged[stream] == start:
        partial = json.dumps(at.partial | {stream: text[:PARTIAL_CHARACTERS]})
        execute(db, "UPDATE execution SET log_partial = ? WHERE id = ?", (partial, execution.id))


def keep_partial(db: Database, logs_dir: Path, execution: Execution) -> None:
    """Store the unfinished lines as they are: the rest of them is lost. Call inside a transaction."""
    for stream, text in length(db, execution).partial.items():
        at = length(db, execution)
        have = at.acknowledged[stream]
        batch = LogBatch(
            attempt=execution.attempt, stream=stream, start=have, end=have, first_us=at.last_us, last_us=at.last_us
        )
        append(db, logs_dir, execution, at, batch, text.replace("\n", " ").encode(errors="replace") + b"\n")


def _most_messages(text: bytes) -> int:
    """Into how many messages the longest line is cut: each gets a microsecond of its own."""
    longest = len(text) if len(text) <= MESSAGE_BYTES else max(map(len, text.split(b"\n")))
    return 1 + longest // (MESSAGE_BYTES - UTF8_BYTES)


def _write(logs_dir: Path, execution: Execution, at: LogLength, text: bytes, segment: Segment) -> None:
    log, index = paths(logs_dir, execution)
    log.parent.mkdir(parents=True, exist_ok=True)
    with _opened_at(log, at.bytes) as file:
        file.write(text)
    with _opened_at(index, at.segments * RECORD.size) as file:
        _fill_index(file, at)
        file.write(_record(segment))


@contextmanager
def _opened_at(path: Path, size: int) -> Iterator[BinaryIO]:
    """A file that the database says has `size` bytes, positioned behind them."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600), "wb") as file:
        if os.fstat(file.fileno()).st_size > size:
            file.truncate(size)
        file.seek(size)
        yield file


def _fill_index(file: BinaryIO, at: LogLength) -> None:
    """Put empty segments in place of lost records, so that the index stays ordered by line and can be searched."""
    have = os.fstat(file.fileno()).st_size // RECORD.size
    if have < at.segments:
        empty = _record(Segment(at.lines, at.bytes, at.last_us, 0, 0, STREAMS[0]))
        file.seek(have * RECORD.size)
        file.writelines(itertools.repeat(empty, at.segments - have))


def _record(segment: Segment) -> bytes:
    stream = STREAMS.index(segment.stream)
    return RECORD.pack(segment.line, segment.offset, segment.first_us, segment.span_us, segment.lines, stream)


def sync(logs_dir: Path, execution: Execution) -> None:
    """Make the log durable; done once, before the final state is recorded."""
    for path in paths(logs_dir, execution):
        if path.exists():
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def read(
    logs_dir: Path, execution: Execution, at: LogLength, first: int, count: int, stream: str | None = None
) -> Iterator[LogLine]:
    """Lines `first` … `first + count - 1`, as far as there are any; of those only the ones of `stream` if it is given.

    Reads one segment at a time. Lines that the files no longer have, such as after a restored backup without logs, are
    reported by one line of the stream `status` in their place.
    """
    position, end = first, min(first + count, at.lines)
    for line in _present(logs_dir, execution, at, first, end, stream):
        if line.number < position:  # a damaged index names lines twice
            continue
        if line.number > position:
            yield _missing(position, line.number, line.time_us - 1)
        if stream in (None, line.stream):
            yield line
        position = line.number + line.count
    if position < end:
        yield _missing(position, end, at.last_us)


def _present(
    logs_dir: Path, execution: Execution, at: LogLength, first: int, end: int, stream: str | None
) -> Iterator[LogLine]:
    """The lines that the files have; those of another stream than `stream` as one line for each segment."""
    log, index = paths(logs_dir, execution)
    with _opened(log) as text, _opened(index) as records:
        segments = min(at.segments, os.fstat(records.fileno()).st_size // RECORD.size)
        number = _segment_of(records.fileno(), segments, first)
        while first < end and number < segments:
            segment = _segment(records.fileno(), number)
            if segment.line >= end:
                return
            number += 1
            start, stop = max(first, segment.line), min(end, segment.line + segment.lines)
            if stream not in (None, segment.stream):
                yield LogLine(start, segment.first_us, segment.stream, b"", max(0, stop - start))
                continue
            following = _segment(records.fileno(), number).offset if number < segments else at.bytes
            text.seek(segment.offset)
            lines = text.read(min(max(0, following - segment.offset), SEGMENT_BYTES)).split(b"\n")[:-1]
            for i in range(start - segment.line, min(len(lines), stop - segment.line)):
                yield LogLine(segment.line + i, segment.time_us(i), segment.stream, lines[i])


def _opened(path: Path) -> BinaryIO:
    """The file, empty when it is missing."""
    try:
        return path.open("rb")
    except FileNotFoundError:
        return open(os.devnull, "rb")


def _missing(first: int, end: int, time_us: int) -> LogLine:
    count = end - first
    what = f"{count:,} lines of the log are missing" if count > 1 else "1 line of the log is missing"
    text = f"{what}: the log's file on the server was lost or damaged"
    return LogLine(first, max(0, time_us), "status", text.encode(), count)


def messages(lines: Iterator[LogLine]) -> Iterator[LogLine]:
    """The same lines with every one over MESSAGE_BYTES cut, between characters, into several of the same number."""
    for line in lines:
        if len(line.message) <= MESSAGE_BYTES:
            yield line
            continue
        for i, piece in enumerate(_pieces(line.message)):
            yield LogLine(line.number, line.time_us + i, line.stream, piece)


def _pieces(message: bytes) -> Iterator[bytes]:
    start = 0
    while start < len(message):
        end = start + MESSAGE_BYTES
        for _ in range(UTF8_BYTES - 1):
            if end < len(message) and message[end] & 0xC0 == 0x80:  # inside a character
                end -= 1
        yield message[start:end]
        start = end


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
