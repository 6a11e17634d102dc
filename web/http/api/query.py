"""Parse API requests: paging, filters and the objects that they name."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson
from flask import request

from core import clock
from core.errors import InvalidInput, NotFound
from core.groups import Pipeline, Task
from core.model import Execution, Project
from core.states import FINAL
from core.text import whole_number
from web.http import auth, numbers
from web.store import executions, pipelines, projects, tasks
from web.store.db import Database
from web.store.selection import Selection

DEFAULT_LIMIT = 100
LINGER_S = 1.5
MAX_LIMIT = 10_000  # clients that ignore `next` ask for up to 9001
ORDERS = {"counter": "counter ASC", "-counter": "counter DESC", "ctime": "id ASC", "-ctime": "id DESC"}
T = TypeVar("T")
Numbered = TypeVar("Numbered", Execution, Task, Pipeline)
TRUE, FALSE = {"true", "1", "yes"}, {"false", "0", "no"}


@dataclass(frozen=True, kw_only=True)
class ApiPage:
    limit: int
    offset: int

    def cut(self, items: Sequence[T]) -> Sequence[T]:
        return items[self.offset : self.offset + self.limit]


def selection(db: Database) -> Selection:
    """Parse filters and page. Requests by `counter` or `status` without `limit` get up to MAX_LIMIT objects."""
    counters = [numbers.parse(item, "counter") for item in request.args.getlist("counter")]
    statuses = request.args.getlist("status")
    wanted = page(MAX_LIMIT if counters or statuses else DEFAULT_LIMIT)
    return Selection(
        projects=asked_projects(db),
        statuses=statuses,
        counters=counters,
        creator_id=_creator(),
        deleted=bool(flag("deleted")),
        order=_order(),
        limit=wanted.limit,
        offset=wanted.offset,
    )


def _order() -> str:
    given = request.args.get("ordering", "-ctime")
    if given not in ORDERS:
        raise InvalidInput(f"ordering must be one of {', '.join(ORDERS)}, got {given[:80]!r}", field="ordering")
    return ORDERS[given]


def _creator() -> int | None:
    """Return the user id to filter by. Clients that do not know it send other values, meaning the current user."""
    given = request.args.get("creator")
    if given is None:
        return None
    number = whole_number(given)
    return auth.current_user().id if number is None else number


def page(default: int = DEFAULT_LIMIT) -> ApiPage:
    limit = numbers.in_query("limit", default)
    if limit == 0:
        raise InvalidInput("limit must be at least 1, got 0", field="limit")
    return ApiPage(limit=min(limit, MAX_LIMIT), offset=numbers.in_query("offset", 0))


def flag(name: str) -> bool | None:
    """Parse `true` or `false` in any spelling that clients use; None if it is absent."""
    given = request.args.get(name, "").lower()
    if given in TRUE | FALSE:
        return given in TRUE
    if given:
        raise InvalidInput(f"{name} must be true or false, got {given[:80]!r}", field=name)
    return None


def words(name: str) -> set[str]:
    """Parse a comma-separated list."""
    return {word.strip() for word in request.args.get(name, "").split(",")} - {""}


def is_vh() -> bool:
    """Return whether `vh` asks, which has some defects that a server can make good."""
    return "valohai-cli/" in request.headers.get("User-Agent", "")


def follows(execution: Execution) -> bool:
    """Return whether `vh` may be following an execution, which has not ended or has ended less than LINGER_S ago.

    `vh exec logs --stream` and `watch` ask each second for the last 100 events, skip those that they have, and then ask
    for the status. They lose what was printed beyond 100 lines a second, and `logs` loses what was stored between its
    last two requests. Hence they get more events, and a final state a little later.
    """
    if not is_vh():
        return False
    ended = execution.ended_at
    return execution.state not in FINAL or (
        execution.started_at is not None and ended is not None and clock.seconds_between(ended, clock.now()) < LINGER_S
    )


def fields() -> Mapping[str, Any]:
    """Return the fields of the body, a form or a JSON object."""
    if not request.is_json:
        return request.form
    try:
        data = orjson.loads(request.get_data())
    except orjson.JSONDecodeError:
        raise InvalidInput("the body is not valid JSON") from None
    if not isinstance(data, dict):
        raise InvalidInput("the body must be a JSON object")
    return data


def text(given: Mapping[str, Any], name: str, default: str | None = None) -> str:
    """Return a field of the body; `default` if it is absent. Raises InvalidInput if it is not text."""
    value = given.get(name, default)
    if not isinstance(value, str):
        raise InvalidInput(f"{name} must be text", field=name)
    return value


def asked_project(db: Database) -> Project | None:
    given = request.args.get("project", "")
    return project(db, given) if given else None


def asked_projects(db: Database) -> Collection[int] | None:
    """Return the ids of the projects to list: the one of the query, else all that the user may see; None for all."""
    found = asked_project(db)
    return [found.id] if found else auth.visible_projects()


def project(db: Database, identifier: str) -> Project:
    """Return the project with that uuid or name, in which the user may do what the view does."""
    try:
        found = projects.by_uuid(db, str(uuid.UUID(identifier)))
    except (ValueError, NotFound):
        found = _named(db, identifier)
    auth.enter(found.id, auth.invisible(identifier))
    return found


def _named(db: Database, name: str) -> Project:
    try:
        return projects.by_name(db, name)
    except NotFound:
        raise NotFound(auth.invisible(name)) from None


def execution(db: Database, identifier: str) -> Execution:
    return _numbered(db, "execution", identifier, executions.by_uuid, executions.by_counter, executions.newest)


def task(db: Database, identifier: str) -> Task:
    return _numbered(db, "task", identifier, tasks.by_uuid, tasks.by_counter, tasks.newest)


def pipeline(db: Database, identifier: str) -> Pipeline:
    return _numbered(db, "pipeline", identifier, pipelines.by_uuid, pipelines.by_counter, pipelines.newest)


def _numbered(
    db: Database,
    noun: str,
    identifier: str,
    by_uuid: Callable[[Database, str], Numbered],
    by_counter: Callable[[Database, int, int], Numbered],
    newest: Callable[[Database, int], Numbered],
) -> Numbered:
    """Return the object with that uuid, `<project>:<number>` or `<project>:latest`."""
    owner, colon, counter = identifier.rpartition(":")
    if not colon:
        single = by_uuid(db, identifier)
        auth.enter(single.project_id, f"there is no {noun} {identifier}")
        return single
    found = project(db, owner)
    return newest(db, found.id) if counter == "latest" else by_counter(db, found.id, numbers.parse(counter, "counter"))
