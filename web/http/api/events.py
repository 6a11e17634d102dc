"""Log and metadata of an execution: `/executions/<id>/events/`, `status-events/` and `metadata/`."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Annotated, Any, TypedDict

import orjson
from msgspec import Meta

from web.http import auth
from web.http.api import query
from web.http.api.answers import Json
from web.http.api.parameters import Number, takes
from web.store import logs, metadata
from web.store.logs import LogLine

DEFAULT_EVENTS = 2000
DEFAULT_STATUS_EVENTS = 100
STREAM_BATCH = 500  # events or metadata lines that are encoded at once
LIMIT = Number("limit", f"The last events to return, {DEFAULT_EVENTS:,} by default; 0 for all.")
STATUS_LIMIT = Number("limit", f"The last events to return, {DEFAULT_STATUS_EVENTS} by default; 0 for all.")


class Event(TypedDict):
    """A line of the log; a very long one is several events."""

    time: Annotated[str, Meta(description="UTC without a zone, such as 2026-11-22T23:39:11.095815.")]
    stream: Annotated[str, Meta(description="stdout, stderr or status.")]
    message: str


class Events(TypedDict):
    """The last events of a log."""

    total: int
    limit: int
    truncated: Annotated[bool, Meta(description="Whether earlier events are left out.")]
    events: list[Event]


class StatusEvents(TypedDict):
    """The last status lines of a log, which pushmill itself wrote."""

    total: int
    status_events: list[Event]


@auth.read
@takes(LIMIT)
def events(identifier: str) -> Json[Events]:
    """Return the last events of the log of an execution."""
    db, logs_dir = auth.get_db(), auth.get_server().config.logs_dir
    execution, limit = query.get_execution(db, identifier), LIMIT.number(DEFAULT_EVENTS)
    if query.is_followed(execution):
        limit = max(limit, DEFAULT_EVENTS) if limit else 0
    at = logs.get_length(db, execution)
    if limit == 0:
        every = logs.split_long_lines(logs.read(logs_dir, execution, at, 0, at.lines))
        return Json.streamed(_all_events(_Counted(every)))
    first = max(0, at.lines - limit)
    counted = _Counted(logs.split_long_lines(logs.read(logs_dir, execution, at, first, limit)))
    last = list(_events(deque(counted, maxlen=limit)))
    total = first + counted.count  # a very long line becomes several events
    return Json({"total": total, "limit": limit, "truncated": total > len(last), "events": last})


@auth.read
@takes(STATUS_LIMIT)
def status_events(identifier: str) -> Json[StatusEvents]:
    """Return the last status lines of the log of an execution."""
    db, logs_dir = auth.get_db(), auth.get_server().config.logs_dir
    execution, limit = query.get_execution(db, identifier), STATUS_LIMIT.number(DEFAULT_STATUS_EVENTS)
    at = logs.get_length(db, execution)
    counted = _Counted(logs.read(logs_dir, execution, at, 0, at.lines, stream="status"))
    last = list(_events(deque(counted, maxlen=limit or None)))
    return Json({"total": counted.count, "status_events": last})


@auth.read
def points(identifier: str) -> Json[list[dict[str, Any]]]:
    """Return every metadata line of an execution, with the time at which it was printed in `_time`."""
    db = auth.get_db()
    execution = query.get_execution(db, identifier)
    count = metadata.count(db, execution.id)

    def batches() -> Iterator[list[dict[str, Any]]]:
        for first in range(0, count, STREAM_BATCH):
            lines = metadata.list_lines(db, execution.id, first, STREAM_BATCH)
            yield [{"_time": _time(time_us)} | values for time_us, values in lines]

    return Json.streamed(_array(batches()))


class _Counted:
    """An iterator over lines that counts them."""

    def __init__(self, lines: Iterable[LogLine]) -> None:
        self._lines, self.count = lines, 0

    def __iter__(self) -> Iterator[LogLine]:
        for line in self._lines:
            self.count += 1
            yield line


def _all_events(lines: _Counted) -> Iterator[bytes]:
    """Yield the JSON response with all events in parts; the total is known only at its end."""
    every = _events(lines)
    yield b'{"limit":0,"truncated":false,"events":'
    yield from _array(iter(lambda: list(islice(every, STREAM_BATCH)), []))
    yield b',"total":%d}' % lines.count


def _array(batches: Iterable[Sequence[Mapping[str, Any]]]) -> Iterator[bytes]:
    """Yield the JSON of all batches as one list, in parts."""
    separator = b"["
    for batch in batches:
        if batch:
            yield separator + orjson.dumps(batch)[1:-1]
            separator = b","
    yield b"[]" if separator == b"[" else b"]"


def _events(lines: Iterable[LogLine]) -> Iterator[Event]:
    for line in lines:
        yield {"time": _time(line.time_us), "stream": line.stream, "message": line.text}


def _time(time_us: int) -> str:
    """Format a time as UTC without a zone and always with six decimals: clients cut a fixed number of characters."""
    seconds, rest = divmod(time_us, 1_000_000)
    return f"{_second(seconds)}.{rest:06d}"


@functools.lru_cache(maxsize=64)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
