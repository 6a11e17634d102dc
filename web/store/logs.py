"""The log of an execution: append-only files of lines, and the position of each stream.

A log is one file until a stream is longer than half of `[limits] log`. From then on that stream is written to its own
chunk files, of which only the newest are kept: a log keeps the first and the newest part of each stream.

A chunk file is a sixteenth of the limit; `execution.log_tails` lists those that exist. Line numbers continue, so
deleted lines are a gap between numbers, and reading merges the parts by number. Lines that a stream skipped are
stored as one line that counts them; the next append fills the index with empty records, which keeps it ordered.

The latest preview of each stream's unfinished line is in the execution's row, where the next line replaces it. Pages
show it below the log, the API does not. When the runner is lost, the last preview is stored as a line.
"""

from __future__ import annotations

import heapq
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from sqlite_utils import Database

from core.errors import NotFound
from core.model import Execution
from core.wire import STREAMS, LogBatch
from web.store.db import Row, execute, fetch_row, fetch_rows, needs_transaction
from web.store.log_files import SEGMENT_BYTES, LogLine, Part, Segment

__all__ = ["SEGMENT_BYTES", "LogLength", "LogLine"]

MESSAGE_BYTES = 16 * 1024  # a longer line is shown as several messages
UTF8_BYTES = 4  # maximum of one character
PARTIAL_CHARACTERS = 4096
COLUMNS = "log_bytes, log_lines, log_segments, log_last_us, acknowledged, log_partial, log_tails"
CHUNKS = 8  # chunks in the newest part of a stream


@dataclass(frozen=True, slots=True)
class Chunk:
    number: int
    line: int  # number of its first line
    bytes: int
    segments: int


@dataclass(frozen=True, slots=True)
class LogTail:
    """The newest part of a stream. Lines from `first` up to the first chunk were skipped or deleted."""

    first: int
    chunks: tuple[Chunk, ...]


class WholeLines(NamedTuple):
    text: bytes
    number: int


@dataclass(frozen=True, slots=True)
class LogLength:
    """Lengths and positions of a log, as stored in the database.

    By stream: `acknowledged` is the number of stored spool bytes, `partial` the text of an unfinished line, `tails` the
    newest part if the stream is longer than half of `limit`. A `limit` of 0 means no limit.
    """

    bytes: int
    lines: int
    segments: int
    last_us: int
    acknowledged: dict[str, int]
    partial: dict[str, str]
    tails: dict[str, LogTail]
    limit: int = 0


EMPTY = LogLength(0, 0, 0, 0, dict.fromkeys(STREAMS, 0), {}, {})  # length of the log of a new execution


def list_files(logs_dir: Path, execution: Execution) -> list[Path]:
    """List all existing files of a log, including those that a killed process left."""
    path = _path(logs_dir, execution)
    return sorted(path.parent.glob(f"{path.name}.*"))


def _path(logs_dir: Path, execution: Execution, rest: str = "") -> Path:
    return logs_dir / execution.uuid[:2] / f"{execution.uuid}{rest}"


def get_length(db: Database, execution: Execution, limit: int = 0) -> LogLength:
    found = fetch_row(db, f"SELECT {COLUMNS} FROM execution WHERE id = ?", (execution.id,))
    if found is None:
        raise NotFound(f"there is no execution {execution.uuid}")
    return _length(found, limit)


def map_lengths(db: Database, execution_ids: Sequence[int]) -> dict[int, LogLength]:
    """Return lengths by execution id."""
    marks = ", ".join("?" * len(execution_ids))
    found = fetch_rows(db, f"SELECT id, {COLUMNS} FROM execution WHERE id IN ({marks})", list(execution_ids))
    return {item["id"]: _length(item, 0) for item in found}


def _length(found: Row, limit: int) -> LogLength:
    tails = json.loads(found["log_tails"])
    return LogLength(
        bytes=found["log_bytes"],
        lines=found["log_lines"],
        segments=found["log_segments"],
        last_us=found["log_last_us"],
        acknowledged=dict.fromkeys(STREAMS, 0) | json.loads(found["acknowledged"]),
        partial=json.loads(found["log_partial"]),
        tails={
            name: LogTail(first, tuple(Chunk(*chunk) for chunk in chunks)) for name, (first, chunks) in tails.items()
        },
        limit=limit,
    )


@needs_transaction
def append(
    db: Database, logs_dir: Path, execution: Execution, at: LogLength, batch: LogBatch, whole_lines: WholeLines
) -> Segment | None:
    """Append a batch at `at`, the current length; return None if it contains no line.

    The caller has checked that `batch.start` is the acknowledged offset of its stream.
    """
    text, lines = whole_lines
    first_us = max(batch.first_us, at.last_us + 1)
    span_us = max(batch.last_us - first_us, lines * _most_messages(text))
    whole = Segment(at.lines, at.bytes, first_us, span_us, lines, batch.stream)
    after = replace(
        at,
        last_us=first_us + span_us if lines else at.last_us,
        acknowledged=at.acknowledged | {batch.stream: batch.end},
        partial={stream: line for stream, line in at.partial.items() if stream != batch.stream},
    )
    head = _head(at, batch.stream, text)
    position = lines if head == len(text) else text.count(b"\n", 0, head)
    if head:
        segment = whole if position == lines else _section(whole, 0, position)
        Part(_path(logs_dir, execution), at.bytes, at.segments).append(text[:head], segment)
        after = replace(after, bytes=at.bytes + head, segments=at.segments + 1)
    if head < len(text):
        after = _to_tail(logs_dir, execution, after, text[head:], whole, position)
    _record(db, execution, replace(after, lines=at.lines + lines))
    return whole if lines else None


def log_status(db: Database, logs_dir: Path, execution: Execution, *messages: str, at: LogLength | None = None) -> None:
    """Append status lines from the server to an execution's log; `at` is its length if the caller knows it."""
    at = at or get_length(db, execution)
    have, now_us = at.acknowledged["status"], time.time_ns() // 1000
    batch = LogBatch(attempt=execution.attempt, stream="status", start=have, end=have, first_us=now_us, last_us=now_us)
    text = "".join(message.replace("\n", " ") + "\n" for message in messages)
    append(db, logs_dir, execution, at, batch, WholeLines(text.encode(), len(messages)))


def _head(at: LogLength, stream: str, text: bytes) -> int:
    """Return how many bytes of `text`, in whole lines, belong to the first part of the log."""
    room = at.limit // 2 - at.acknowledged[stream]
    if not at.limit or len(text) <= room:
        return len(text)
    return text.rfind(b"\n", 0, room) + 1 if room > 0 and stream not in at.tails else 0


def _section(whole: Segment, first: int, end: int) -> Segment:
    """Return lines `first` up to `end` of a segment as a segment with their share of its time span."""
    begin_us = whole.time_us(first)
    return replace(
        whole, line=whole.line + first, first_us=begin_us, span_us=whole.time_us(end) - begin_us, lines=end - first
    )


def _to_tail(
    logs_dir: Path, execution: Execution, at: LogLength, text: bytes, whole: Segment, position: int
) -> LogLength:
    """Append a batch from line `position` on to the newest part of its stream, and delete chunks beyond the limit."""
    room, stream = at.limit - at.limit // 2, whole.stream
    tail = at.tails.get(stream, LogTail(whole.line + position, ()))
    chunks, left = list(tail.chunks), len(text)
    for piece in _pieces(text, max(1, room // CHUNKS)):
        left -= len(piece)
        end = position + piece.count(b"\n") if left else whole.lines
        if left < room:  # else the following text fills the whole part
            if not chunks or chunks[-1].bytes + len(piece) > room // CHUNKS:
                number = chunks[-1].number + 1 if chunks else 0
                chunks.append(Chunk(number, whole.line + position, 0, 0))
            newest = chunks[-1]
            segment = replace(_section(whole, position, end), offset=newest.bytes)
            _part(logs_dir, execution, stream, newest).append(piece, segment)
            chunks[-1] = replace(newest, bytes=newest.bytes + len(piece), segments=newest.segments + 1)
        position = end
    while len(chunks) > 1 and sum(chunk.bytes for chunk in chunks) > room:
        _part(logs_dir, execution, stream, chunks.pop(0)).remove()
    return replace(at, tails=at.tails | {stream: LogTail(tail.first, tuple(chunks))})


def _pieces(text: bytes, size: int) -> Iterator[bytes]:
    """Split text into pieces of whole lines, each at most `size` bytes unless a single line is longer."""
    start = 0
    while start < len(text):
        end = text.rfind(b"\n", start, start + size) + 1 or text.index(b"\n", start) + 1
        yield text[start:end]
        start = end


def _part(logs_dir: Path, execution: Execution, stream: str, chunk: Chunk) -> Part:
    return Part(_path(logs_dir, execution, f".{stream}.{chunk.number}"), chunk.bytes, chunk.segments)


def _record(db: Database, execution: Execution, at: LogLength) -> None:
    tails: dict[str, Any] = {
        stream: [tail.first, [[chunk.number, chunk.line, chunk.bytes, chunk.segments] for chunk in tail.chunks]]
        for stream, tail in at.tails.items()
    }
    columns = {
        "log_bytes": at.bytes,
        "log_lines": at.lines,
        "log_segments": at.segments,
        "log_last_us": at.last_us,
        "acknowledged": json.dumps(at.acknowledged),
        "log_partial": json.dumps(at.partial),
        "log_tails": json.dumps(tails),
    }
    assignments = ", ".join(f"{name} = ?" for name in columns)
    execute(db, f"UPDATE execution SET {assignments} WHERE id = ?", [*columns.values(), execution.id])


@needs_transaction
def set_partial(db: Database, execution: Execution, stream: str, start: int, text: str) -> None:
    """Set the unfinished line of a stream, unless more of the stream is stored by now."""
    at = get_length(db, execution)
    if at.acknowledged[stream] == start:
        partial = json.dumps(at.partial | {stream: text[:PARTIAL_CHARACTERS]})
        execute(db, "UPDATE execution SET log_partial = ? WHERE id = ?", (partial, execution.id))


@needs_transaction
def keep_partial(db: Database, logs_dir: Path, execution: Execution) -> None:
    """Store the unfinished lines as lines, since the rest of them is lost."""
    for stream, text in get_length(db, execution).partial.items():
        at = get_length(db, execution)
        have = at.acknowledged[stream]
        batch = LogBatch(
            attempt=execution.attempt, stream=stream, start=have, end=have, first_us=at.last_us, last_us=at.last_us
        )
        line = text.replace("\n", " ").encode(errors="replace") + b"\n"
        append(db, logs_dir, execution, at, batch, WholeLines(line, 1))


def _most_messages(text: bytes) -> int:
    """Return the number of messages that the longest line is cut into; each gets its own microsecond."""
    half = (MESSAGE_BYTES - UTF8_BYTES) // 2  # with a newline in each `half` bytes no line needs a cut
    if all(text.find(b"\n", at, at + half) >= 0 for at in range(0, len(text), half)):
        return 1
    return 1 + max(map(len, text.split(b"\n"))) // (MESSAGE_BYTES - UTF8_BYTES)


def sync(logs_dir: Path, execution: Execution, at: LogLength) -> None:
    """Flush the log to the disk; called once, before the final state is recorded."""
    for part in iterate_parts(logs_dir, execution, at, 0, at.lines):
        part.sync()


def iterate_parts(logs_dir: Path, execution: Execution, at: LogLength, first: int, end: int) -> Iterator[Part]:
    """Yield the parts that may contain lines from `first` up to `end`."""
    yield Part(_path(logs_dir, execution), at.bytes, at.segments)
    for stream, tail in at.tails.items():
        ends = [*(chunk.line for chunk in tail.chunks[1:]), at.lines]
        for chunk, chunk_end in zip(tail.chunks, ends, strict=True):
            if chunk.line < end and first < chunk_end:
                yield _part(logs_dir, execution, stream, chunk)


def read(
    logs_dir: Path, execution: Execution, at: LogLength, first: int, count: int, stream: str | None = None
) -> Iterator[LogLine]:
    """Yield the existing lines from `first` to `first + count - 1`; with `stream`, only lines of that stream.

    Reads one segment of each part at a time. Skipped lines, and lines missing in the files, such as after restoring a
    backup without logs, are reported by a line of the stream `status` in their place.
    """
    position, end = first, min(first + count, at.lines)
    found = [part.lines(first, end, stream) for part in iterate_parts(logs_dir, execution, at, first, end)]
    for line in heapq.merge(*found, key=lambda line: line.number) if len(found) > 1 else found[0]:
        if line.number < position:  # a damaged index lists lines twice
            continue
        if line.number > position:
            yield _gap(at, position, line.number, line.time_us - 1)
        if stream in (None, line.stream):
            yield line
        position = line.number + line.count
    if position < end:
        yield _gap(at, position, end, at.last_us)


def _gap(at: LogLength, first: int, end: int, time_us: int) -> LogLine:
    count = end - first
    lines = f"{count:,} lines" if count > 1 else "1 line"
    ranges = {stream: (tail.first, tail.chunks[0].line) for stream, tail in at.tails.items()}
    if ranges and min(ranges.values())[0] <= first and end <= max(kept for _, kept in ranges.values()):
        of = " and ".join(stream for stream, (begin, kept) in ranges.items() if begin < end and first < kept)
        text = f"{lines} of {of} left out: the log keeps the first and the newest part of a stream ([limits] log)"
    else:
        verb = "are" if count > 1 else "is"
        text = f"{lines} of the log {verb} missing: the log's file on the server was lost or damaged"
    return LogLine(first, max(0, time_us), "status", text.encode(), count)


def split_long_lines(lines: Iterator[LogLine]) -> Iterator[LogLine]:
    """Yield lines, cutting those over MESSAGE_BYTES between characters into several with the same number."""
    for line in lines:
        if len(line.message) <= MESSAGE_BYTES:
            yield line
            continue
        for i, piece in enumerate(_cut(line.message)):
            yield LogLine(line.number, line.time_us + i, line.stream, piece)


def _cut(message: bytes) -> Iterator[bytes]:
    start = 0
    while start < len(message):
        end = start + MESSAGE_BYTES
        for _ in range(UTF8_BYTES - 1):
            if end < len(message) and message[end] & 0xC0 == 0x80:  # inside a character
                end -= 1
        yield message[start:end]
        start = end
