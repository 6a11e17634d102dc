"""One stream for each page that shows lists: it reports that something has changed, and the page fetches itself again.

A view declares with `shows` which topics its page shows. Its page names the stream, with the number of the last change
before its queries, so that no change between page and stream is missed.

All streams share one query of the database (`ChangeWatch`): twice a second for changes of other processes, and after
each change in this one. A stream sends at most one event in GAP_S, fewer if there are many streams. Pages fetch at
random times within a span that grows with their number, so that together they fetch FETCHES_PER_S times a second.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeVar

from flask import Blueprint, Flask, Response, current_app, g, request, url_for

from core.errors import InvalidInput
from core.identity import Identity
from web.http import auth, streams
from web.services.scheduling.dispatch import ONLINE_S
from web.store import changes, executions, members, projects, runners
from web.store.db import Database

blueprint = Blueprint("changes", __name__)

View = TypeVar("View", bound=Callable[..., Any])

RUNS, VALUES, LOGS, PUSHES = OF_PROJECT = "runs", "values", "logs", "pushes"
PROJECTS, RUNNERS, ONLINE, ENVIRONMENTS, ANY_RUNS = OF_SERVER = (
    "projects", "runners", "online", "environments", "any runs",
)  # fmt: skip
GAP_S = 2.0
FETCHES_PER_S = 20
RETRY_MS = 2000
WATCH = "pushmill-watch"
NUMBER = re.compile(r"[0-9]{1,15}")


def shows(*topics: str) -> Callable[[View], View]:
    """Declare what the page of a view shows: of its project, or else of all projects that the user may see."""

    def mark(view: View) -> View:
        view.shows = topics  # type: ignore[attr-defined]
        return view

    return mark


class ChangeWatch:
    """The numbers of all topics as of the last look, and the followers of changes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers: dict[str, int] = {}
        self._latest = 0
        self._state_change: int | None = None
        self._online: frozenset[int] | None = None
        self.followers: set[ChangeFollower] = set()

    def begin(self, db: Database) -> None:
        """Read the numbers once, before the first page is rendered."""
        if self._online is None:
            self.look(db)

    def look(self, db: Database) -> Collection[str]:
        """Return the topics that have changed since the last call, and the executions with another state."""
        with self._lock:
            before, self._online = self._online, runners.list_seen_within(db, ONLINE_S)
            if before not in (None, self._online):
                changes.note(db, ONLINE)
            found = changes.list_topics_since(db, self._latest)
            found |= {f"any {topic.partition(' ')[0]}": number for topic, number in sorted(found.items(), key=_number)}
            self._numbers |= found
            self._latest = max(found.values(), default=self._latest)
            self._state_change, moved = executions.list_changed_since(db, self._state_change)
            return () if before is None else found.keys() | moved

    def number(self, topics: Collection[str]) -> int:
        return max((self._numbers.get(topic, 0) for topic in topics), default=0)

    def span_s(self) -> float:
        """Return the seconds over which the pages spread their fetches after a change that concerns all."""
        return max(0.0, len(self.followers) / FETCHES_PER_S - GAP_S)


class ChangeFollower:
    """The stream of one page."""

    behind = False

    def __init__(
        self, wanted: Sequence[str], project_id: int | None, after: int, release: Callable[[], None], watch: ChangeWatch
    ) -> None:
        self._identity: Identity = auth.get_current_identity()
        self._wanted, self._project_id, self._after = wanted, project_id, after
        self._release, self._watch = release, watch
        self._spoke_at: float | None = None
        self.poll_s = streams.HEARTBEAT_S
        self.shown = self._shown()
        watch.begin(auth.get_db())
        watch.followers.add(self)

    @property
    def topics(self) -> frozenset[str]:
        return self.shown | {streams.RIGHTS}

    @property
    def gap_s(self) -> float:
        return GAP_S + self._watch.span_s()

    def look(self) -> tuple[bytes, bool]:
        """Return an event if something has changed since the last one, and whether the stream must end."""
        if not auth.resume(self._identity, self._project_id):
            return b"", True
        number, now = self._watch.number(self.shown), time.monotonic()
        if number > self._after:
            self._after, self._spoke_at = number, now
            self.shown = self._shown()
            return streams.format_event(
                "changed", {"within_ms": round(1000 * self._watch.span_s())}, number
            ).encode(), False
        if self._spoke_at is None or now - self._spoke_at >= streams.HEARTBEAT_S:
            self._spoke_at = now
            return f"retry: {RETRY_MS}\n{streams.BEAT}".encode(), False
        return b"", False

    def close(self) -> None:
        self._watch.followers.discard(self)
        self._release()

    def _shown(self) -> frozenset[str]:
        """Return the topics of the page; if it shows all projects, those of the projects that are visible now."""
        of_server = {topic for topic in self._wanted if topic in OF_SERVER}
        of_project = [topic for topic in self._wanted if topic in OF_PROJECT]
        if self._project_id is not None:
            return frozenset(of_server | {f"{topic} {self._project_id}" for topic in of_project})
        if self._identity.user.is_admin:
            return frozenset(of_server | {f"any {topic}" for topic in of_project})
        visible = members.list_project_ids(auth.get_db(), self._identity.user.id)
        return frozenset(of_server | {f"{topic} {project}" for topic in of_project for project in visible})


def init_app(app: Flask) -> None:
    app.extensions[WATCH] = ChangeWatch()


def choose_stream() -> None:
    """Choose the stream of a page before the view's queries, so that the page misses no change after them."""
    g.changes = ""
    topics = getattr(current_app.view_functions.get(request.endpoint or ""), "shows", ())
    if topics and request.method == "GET":
        watch: ChangeWatch = current_app.extensions[WATCH]
        watch.begin(auth.get_db())
        args: dict[str, Any] = {"of": topics, "after": changes.get_latest_number(auth.get_db())}
        name = (request.view_args or {}).get("name")
        g.changes = url_for("changes.of_project", name=name, **args) if name else url_for("changes.of_server", **args)


@blueprint.get("/changes")
@auth.read
def of_server() -> Response:
    """Stream `changed` when one of the topics `of` has changed after the number `after`, and `beat` meanwhile."""
    return _stream(None)


@blueprint.get("/p/<name>/changes")
@auth.read
def of_project(name: str) -> Response:
    """Stream the same of a project."""
    return _stream(projects.get_by_name(auth.get_db(), name).id)


def _stream(project_id: int | None) -> Response:
    wanted = list(dict.fromkeys(request.args.getlist("of")))
    if unknown := set(wanted) - {*OF_PROJECT, *OF_SERVER}:
        raise InvalidInput(f"unknown topic {min(unknown)[:80]!r}: topics are {', '.join((*OF_PROJECT, *OF_SERVER))}")
    after = request.headers.get("Last-Event-ID") or request.args.get("after") or "0"
    if NUMBER.fullmatch(after) is None:
        raise InvalidInput(f"{after[:80]!r} is not the number of a change")
    watch: ChangeWatch = current_app.extensions[WATCH]
    return streams.stream(lambda release: ChangeFollower(wanted, project_id, int(after), release, watch))


def _number(item: tuple[str, int]) -> int:
    return item[1]
