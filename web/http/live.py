"""Live updates of an execution: a stream of log lines, metadata and state, and the same as JSON for polling.

A position is `<next log line>-<next metadata line>`. It is the `id:` of each event and comes back as Last-Event-ID, so
a client that reconnects resumes where it was, without gaps or repeats.

A live page holds no thread between two looks (`streams.Follower`). Reports of its runner and changes of its
state wake it; every five seconds it looks for what only time changes.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson
from flask import Blueprint, Response, request

from core.errors import InvalidInput
from core.identity import Identity
from core.model import Execution, Project
from core.states import FINAL
from web.config.metadata import to_number
from web.http import auth, streams
from web.http.pages.execution_page import get_project_and_execution, render_head
from web.http.pages.log_query import parse_filter
from web.http.streams import format_event
from web.services.presentation import execution_status, formats, log_view, loglines
from web.store import executions, logs, metadata
from web.store.db import Database
from web.store.log_files import LogLine
from web.store.log_search import Query

blueprint = Blueprint("live", __name__)

EXECUTION = "/p/<name>/executions/<int(max=2147483647):counter>"
POSITION = re.compile(r"([0-9]{1,15})(?:-([0-9]{1,15}))?")
LINES = 1000  # most lines of the log, and of metadata, in one event
POLL_S = 5.0
PAUSE_S = 0.1  # pause after events, so that many small batches become one event


@dataclass(frozen=True, kw_only=True)
class Position:
    line: int
    seq: int

    def __str__(self) -> str:
        return f"{self.line}-{self.seq}"


@dataclass(frozen=True, kw_only=True)
class LiveChanges:
    """Changes since a position. `log` and `metadata` are None without new entries; `end` means none will follow.

    `partial` is the HTML of unfinished lines; it has no position, and each one replaces the one before.
    """

    position: Position
    execution: Execution
    log: dict[str, Any] | None
    partial: str
    metadata: dict[str, Any] | None
    end: bool


class LiveFollower:
    """The stream of one execution: `look` may be called from any thread, until it reports the end."""

    def __init__(
        self, identity: Identity, project: Project, execution: Execution, after: Position, wanted: Query,
        release: Callable[[], None],
    ) -> None:  # fmt: skip
        self._identity = identity
        self.topics = frozenset({execution.uuid, streams.EXECUTIONS, streams.RIGHTS})
        self.gap_s, self.poll_s = PAUSE_S, POLL_S
        self.close = release
        self._project, self._execution, self._after, self._wanted = project, execution, after, wanted
        self._told: Any = None
        self._partial: str | None = None  # the reader may show an unfinished line that is complete by now
        self._spoke_at = time.monotonic()
        self.behind = False

    def look(self) -> tuple[bytes, bool]:
        """Return the events since the last call, and whether they were the last. Holds no resources between calls."""
        db, after = auth.get_db(), self._after
        if not auth.resume(self._identity, self._project.id):
            return b"", True
        found = look(db, auth.get_server().config.logs_dir, self._execution, after, self._wanted)
        spoken = list(_spoken(found, after))
        self._after = found.position
        if found.partial != self._partial:
            self._partial = found.partial
            spoken.append(format_event("partial", {"html": found.partial}, found.position))
        signature = _signature(found.execution)
        if signature != self._told:
            spoken.append(format_event("state", _state(self._project, found.execution), found.position))
            self._told = signature
        if found.end:
            spoken.append(format_event("end", {}, found.position))
        if not spoken and time.monotonic() - self._spoke_at > streams.HEARTBEAT_S:
            spoken.append(streams.BEAT)
        if spoken:
            self._spoke_at = time.monotonic()
        self.behind = found.log is not None and found.log["to"] != found.log["total"]
        return "".join(spoken).encode(), found.end


@blueprint.get(f"{EXECUTION}/events")
@auth.read
def events(name: str, counter: int) -> Response:
    """Stream server-sent events: `log`, `partial`, `metadata`, `state`, finally `end`. 503 with too many streams.

    `show` and `metrics` filter the lines of the log, as on its page.
    """
    project, execution = get_project_and_execution(auth.get_db(), name, counter)
    after, wanted, identity = _position(), parse_filter(), auth.get_current_identity()
    return streams.stream(lambda release: LiveFollower(identity, project, execution, after, wanted, release))


@blueprint.get(f"{EXECUTION}/news")
@auth.read
def news(name: str, counter: int) -> Response:
    """Return the same once, as JSON: the changes since `after`, and the state."""
    db = auth.get_db()
    project, execution = get_project_and_execution(db, name, counter)
    found = look(db, auth.get_server().config.logs_dir, execution, _position(), parse_filter())
    answer = {
        "position": str(found.position),
        "log": found.log,
        "partial": found.partial,
        "metadata": found.metadata,
        "state": _state(project, found.execution),
        "end": found.end,
    }
    return Response(orjson.dumps(answer), mimetype="application/json", headers={"Cache-Control": "no-store"})


def look(db: Database, logs_dir: Path, execution: Execution, after: Position, wanted: Query) -> LiveChanges:
    """Return the changes since `after`, at most LINES of each kind; of the log, only lines that are wanted."""
    execution = executions.get(db, execution.id)  # first: if this state is final, everything read below is complete
    at, count = logs.get_length(db, execution), metadata.count(db, execution.id)
    first, seq = min(after.line, at.lines), min(after.seq, count)
    lines = list(logs.read(logs_dir, execution, at, first, LINES))
    following = lines[-1].number + lines[-1].count if lines else first
    many = min(LINES, count - seq)
    position = Position(line=following, seq=seq + many)
    log = {"from": first, "to": position.line, "total": at.lines, "html": _html(lines, wanted)}
    return LiveChanges(
        position=position,
        execution=execution,
        log=log if lines else None,
        partial=loglines.render_partial(log_view.filter_partial(at.partial, wanted)),
        metadata=_metadata(db, execution, seq, many) if many else None,
        end=execution.state in FINAL and (position.line, position.seq) == (at.lines, count),
    )


def _html(lines: Sequence[LogLine], wanted: Query) -> str:
    return "".join(map(loglines.render_line, log_view.filter_lines(lines, wanted)))


def _spoken(found: LiveChanges, after: Position) -> Iterator[str]:
    """Yield each event with the position after that event only: the connection may break between two events."""
    if found.log:
        yield format_event("log", found.log, replace(after, line=found.position.line))
    if found.metadata:
        yield format_event("metadata", found.metadata, found.position)


def _metadata(db: Database, execution: Execution, seq: int, many: int) -> dict[str, Any]:
    """Return `points` by key as [seq, microseconds, number or null], and the `latest` value of each key as text."""
    found = metadata.list_points_by_key(db, execution.id, seq, many)
    return {
        "points": {key: [[p.seq, p.time_us, to_number(p.value)] for p in points] for key, points in found.items()},
        "latest": {key: _text(points[-1].value) for key, points in found.items()},
    }


def _text(value: Any) -> dict[str, str]:
    return {
        "text": formats.to_visible_text(formats.format_value(value)),
        "full": formats.to_visible_text(formats.format_full_value(value)),
    }


def _signature(execution: Execution) -> tuple[Any, ...]:
    """Return everything that an execution's header shows, except running times."""
    now = execution_status.get_status(auth.get_context(), execution)
    shown = execution.status, execution.status_detail, execution.attempt, execution.runner_id, execution.stop_count
    return *shown, now.waits, now.silent_since


def _state(project: Project, execution: Execution) -> dict[str, Any]:
    head = render_head(project, execution)
    sign = execution_status.SIGNS[execution.status]
    return {"status": execution.status, "sign": sign, "final": execution.state in FINAL, "head": head}


def _position() -> Position:
    given = request.headers.get("Last-Event-ID") or request.args.get("after") or "0"
    match = POSITION.fullmatch(given)
    if match is None:
        raise InvalidInput(f"{given[:80]!r} is not a valid position: the next log line, '-', the next metadata line")
    return Position(line=int(match[1]), seq=int(match[2] or 0))
