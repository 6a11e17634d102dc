"""Log and metadata of an execution: `/executions/<id>/events/`, `status-events/` and `metadata/`."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import orjson
from flask import Response

from web.http import auth, numbers
from web.http.api import query
from web.http.api.answers import json_response
from web.store import logs, metadata
from web.store.logs import LogLine

DEFAULT_EVENTS = 2000
DEFAULT_STATUS_EVENTS = 100
STREAM_BATCH = 500  # events, or metadata lines, encoded at once


@auth.read
def events(identifier: str) -> Response:
    """Return the last `limit` events, 2000 by default; all of them if `limit` is 0."""
    db, logs_dir = auth.db(), auth.server().config.logs_dir
    execution, limit = query.execution(db, identifier), numbers.in_query("limit", DEFAULT_EVENTS)
    if query.follows(execution):
        limit = max(limit, DEFAULT_EVENTS) if limit else 0
    at = logs.length(db, execution)
    if limit == 0:
        every = logs.messages(logs.read(logs_dir, execution, at, 0, at.lines))
        return Response(_all_events(_Counted(every)), mimetype="application/json")
    first = max(0, at.lines - limit)
    counted = _Counted(logs.messages(logs.read(logs_dir, execution, at, first, limit)))
    last = list(_events(deque(counted, maxlen=limit)))
    total = first + counted.count  # a very long line becomes several events
    return json_response({"total": total, "limit": limit, "truncated": total > len(last), "events": last})


@auth.read
def status_events(identifier: str) -> Response:
    db, logs_dir = auth.db(), auth.server().config.logs_dir
    execution, limit = query.execution(db, identifier), numbers.in_query("limit", DEFAULT_STATUS_EVENTS)
    at = logs.length(db, execution)
    counted = _Counted(logs.read(logs_dir, execution, at, 0, at.lines, stream="status"))
    last = list(_events(deque(counted, maxlen=limit or None)))
    return json_response({"total": counted.count, "status_events": last})


@auth.read
def points(identifier: str) -> Response:
    """Return every metadata line of an execution, with the time at which it was printed in `_time`."""
    db = auth.db()
    execution = query.execution(db, identifier)
    count = metadata.count(db, execution.id)

    def batches() -> Iterator[list[dict[str, Any]]]:
        for first in range(0, count, STREAM_BATCH):
            lines = metadata.lines(db, execution.id, first, STREAM_BATCH)
            yield [{"_time": _time(time_us)} | values for time_us, values in lines]

    return Response(_array(batches()), mimetype="application/json")


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


def _array(batches: Iterable[list[dict[str, Any]]]) -> Iterator[bytes]:
    """Yield the JSON of all batches as one list, in parts."""
    separator = b"["
    for batch in batches:
        if batch:
            yield separator + orjson.dumps(batch)[1:-1]
            separator = b","
    yield b"[]" if separator == b"[" else b"]"


def _events(lines: Iterable[LogLine]) -> Iterator[dict[str, Any]]:
    for line in lines:
        yield {"time": _time(line.time_us), "stream": line.stream, "message": line.text}


def _time(time_us: int) -> str:
    """Format a time as UTC without a zone and always with six decimals: clients cut a fixed number of characters."""
    seconds, rest = divmod(time_us, 1_000_000)
    return f"{_second(seconds)}.{rest:06d}"


@functools.lru_cache(maxsize=64)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
