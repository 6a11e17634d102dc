"""An execution while it happens: one stream of log lines, metadata and state, and the same as JSON to poll.

A position is `<next log line>-<next metadata line>`. It is the `id:` of each event and comes back as Last-Event-ID, so a
connection that broke goes on where it was: nothing is lost, nothing comes twice.
"""

from __future__ import annotations

import re
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson
from flask import Blueprint, Response, current_app, render_template, request, stream_with_context
from flask.blueprints import BlueprintSetupState
from sqlite_utils import Database
from werkzeug.exceptions import ServiceUnavailable

from core.errors import InvalidInput
from core.metadata import number
from core.model import Execution, Project
from core.states import FINAL
from web import access
from web.services.changes import Changes
from web.services.presentation import formats, loglines, standing
from web.store import executions, logs, metadata, projects

blueprint = Blueprint("live", __name__)

EXECUTION = "/p/<name>/executions/<int(max=2147483647):counter>"
POSITION = re.compile(r"([0-9]{1,15})(?:-([0-9]{1,15}))?")
LINES = 1000  # of the log, and of metadata, that one event carries at most
POLL_S = 0.5  # other processes write too, and nobody wakes us for that
PAUSE_S = 0.1  # after events, so that many small batches become one event
HEARTBEAT_S = 15.0
RETRY_S = 5
SLOTS = "pushmill-streams"


@dataclass(frozen=True, kw_only=True)
class Position:
    line: int
    seq: int

    def __str__(self) -> str:
        return f"{self.line}-{self.seq}"


@dataclass(frozen=True, kw_only=True)
class News:
    """What came since a position. `log` and `metadata` are None when nothing did; `end` when nothing will any more.

    `partial` is the HTML of the lines that are unfinished now; it has no position, each one replaces the one before.
    """

    position: Position
    execution: Execution
    log: dict[str, Any] | None
    partial: str
    metadata: dict[str, Any] | None
    end: bool


@blueprint.record_once
def limit_streams(state: BlueprintSetupState) -> None:
    """Each stream holds a thread: half of them stay free for everything else."""
    threads = state.app.extensions["pushmill"].config.server.threads
    state.app.extensions[SLOTS] = threading.BoundedSemaphore(max(1, threads // 2))


@blueprint.get(f"{EXECUTION}/events")
@access.user
def events(name: str, counter: int) -> Response:
    """Server-sent events `log`, `partial`, `metadata`, `state` and, last, `end`. 503 when too many are followed already."""
    server, db = access.server(), access.db()
    project, execution = _asked(db, name, counter)
    after = _position()
    if request.method == "HEAD":
        return Response(mimetype="text/event-stream")
    slots: threading.BoundedSemaphore = current_app.extensions[SLOTS]
    if not slots.acquire(blocking=False):
        raise ServiceUnavailable("Too many live pages are open: this one polls.", retry_after=RETRY_S)
    identity = access.current_identity()

    def lost() -> bool:
        return _connection_lost() or access.is_over(db, identity)

    stream = _stream(db, server.config.logs_dir, server.changes, project, execution, after, lost)
    response = Response(stream_with_context(stream), mimetype="text/event-stream")
    response.call_on_close(slots.release)
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"
    return response


@blueprint.get(f"{EXECUTION}/news")
@access.user
def news(name: str, counter: int) -> Response:
    """The same once, as JSON: what came since `after`, and the state."""
    db = access.db()
    project, execution = _asked(db, name, counter)
    found = look(db, access.server().config.logs_dir, execution, _position())
    answer = {
        "position": str(found.position),
        "log": found.log,
        "partial": found.partial,
        "metadata": found.metadata,
        "state": _state(db, project, found.execution),
        "end": found.end,
    }
    return Response(orjson.dumps(answer), mimetype="application/json", headers={"Cache-Control": "no-store"})


def look(db: Database, logs_dir: Path, execution: Execution, after: Position) -> News:
    """What came since `after`, at most LINES of each kind."""
    execution = executions.get(db, execution.id)  # first: once this is final, what is read below is all there will be
    at, count = logs.length(db, execution), metadata.count(db, execution.id)
    first, seq = min(after.line, at.lines), min(after.seq, count)
    lines = list(logs.read(logs_dir, execution, at, first, LINES))
    following = lines[-1].number + lines[-1].count if lines else first
    many = min(LINES, count - seq)
    position = Position(line=following, seq=seq + many)
    log = {"from": first, "to": position.line, "total": at.lines, "html": "".join(map(loglines.html, lines))}
    return News(
        position=position,
        execution=execution,
        log=log if lines else None,
        partial=loglines.partial(at.partial),
        metadata=_metadata(db, execution, seq, many) if many else None,
        end=execution.state in FINAL and (position.line, position.seq) == (at.lines, count),
    )


def _stream(
    db: Database,
    logs_dir: Path,
    changes: Changes,
    project: Project,
    execution: Execution,
    after: Position,
    lost: Callable[[], bool],
) -> Iterator[str]:
    """Between two looks nothing is held: no lock, no transaction, no file."""
    told: Any = None
    partial = ""
    spoke_at = time.monotonic()
    while not lost():
        seen = changes.version
        found = look(db, logs_dir, execution, after)
        spoken = list(_spoken(found, after))
        after = found.position
        if found.partial != partial:
            partial = found.partial
            spoken.append(_event("partial", {"html": partial}, after))
        signature = _signature(db, found.execution)
        if signature != told:
            spoken.append(_event("state", _state(db, project, found.execution), after))
            told = signature
        if found.end:
            spoken.append(_event("end", {}, after))
        if not spoken and time.monotonic() - spoke_at > HEARTBEAT_S:
            spoken.append(":\n\n")
        if spoken:
            spoke_at = time.monotonic()
            yield "".join(spoken)
        if found.end:
            return
        if not spoken:
            changes.wait(seen, POLL_S)
        elif found.log is None or found.log["to"] == found.log["total"]:
            time.sleep(PAUSE_S)


def _spoken(found: News, after: Position) -> Iterator[str]:
    """Each event with the position behind it alone: the connection may break between two."""
    if found.log:
        yield _event("log", found.log, replace(after, line=found.position.line))
    if found.metadata:
        yield _event("metadata", found.metadata, found.position)


def _event(kind: str, data: Any, position: Position) -> str:
    return f"id: {position}\nevent: {kind}\ndata: {orjson.dumps(data).decode()}\n\n"


def _metadata(db: Database, execution: Execution, seq: int, many: int) -> dict[str, Any]:
    """`points` by key as [seq, microseconds, number or null], and the `latest` value of each such key as text."""
    found = metadata.since(db, execution.id, seq, many)
    return {
        "points": {key: [[p.seq, p.time_us, number(p.value)] for p in points] for key, points in found.items()},
        "latest": {key: _text(points[-1].value) for key, points in found.items()},
    }


def _text(value: Any) -> dict[str, str]:
    return {"text": formats.visible(formats.value(value)), "full": formats.visible(formats.full(value))}


def _signature(db: Database, execution: Execution) -> tuple[Any, ...]:
    """Everything about an execution that its header shows, but for the passing of time."""
    now = standing.of(db, access.server().config, execution)
    shown = execution.status, execution.status_detail, execution.attempt, execution.runner_id, execution.stop_count
    return *shown, now.waits, now.silent_since


def _state(db: Database, project: Project, execution: Execution) -> dict[str, Any]:
    head = render_template(
        "_execution_head.html",
        project=project,
        execution=execution,
        standing=standing.of(db, access.server().config, execution),
    )
    sign = standing.SIGNS[execution.status]
    return {"status": execution.status, "sign": sign, "final": execution.state in FINAL, "head": head}


def _asked(db: Database, name: str, counter: int) -> tuple[Project, Execution]:
    project = projects.by_name(db, name)
    return project, executions.by_counter(db, project.id, counter)


def _position() -> Position:
    given = request.headers.get("Last-Event-ID") or request.args.get("after") or "0"
    match = POSITION.fullmatch(given)
    if match is None:
        raise InvalidInput(f"{given[:80]!r} is no position: the next log line, '-', the next metadata line")
    return Position(line=int(match[1]), seq=int(match[2] or 0))


def _connection_lost() -> bool:
    """True when the other side has closed: otherwise a closed tab would hold its thread until the next heartbeat."""
    connection = request.environ.get("gunicorn.socket") or request.environ.get("werkzeug.socket")
    if not isinstance(connection, socket.socket) or connection.fileno() < 0:
        return False
    poll = select.poll()
    poll.register(connection, select.POLLRDHUP)
    return bool(poll.poll(0))
