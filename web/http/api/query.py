"""The objects that API requests name, and filters of lists."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection
from typing import TypeVar

from flask import request

from core import clock
from core.errors import InvalidFields, NotFound
from core.groups import Pipeline, Task
from core.model import Execution, Project
from core.states import FINAL
from core.text import parse_whole_number
from web.http import auth, numbers
from web.http.api.answers import Json, Message
from web.http.api.body import Fields, InProject
from web.http.api.parameters import (
    COUNTER,
    CREATOR,
    DEFAULT_LIMIT,
    DELETED,
    MAX_LIMIT,
    ORDERING,
    PROJECT,
    STATUS,
    read_page,
)
from web.services.context import Context
from web.store import executions, pipelines, projects, tasks
from web.store.db import Database, transaction
from web.store.selection import Selection

LINGER_S = 1.5
Numbered = TypeVar("Numbered", Execution, Task, Pipeline)
Group = TypeVar("Group", Task, Pipeline)


def parse_selection(db: Database) -> Selection:
    """Parse filters and page. Requests by `counter` or `status` without `limit` get up to MAX_LIMIT objects."""
    counters, statuses = COUNTER.numbers(), STATUS.texts()
    wanted = read_page(MAX_LIMIT if counters or statuses else DEFAULT_LIMIT)
    return Selection(
        projects=list_requested_project_ids(db),
        statuses=statuses,
        counters=counters,
        creator_id=_creator(),
        deleted=bool(DELETED.flag()),
        order=ORDERING.sql(),
        limit=wanted.limit,
        offset=wanted.offset,
    )


def _creator() -> int | None:
    """Return the user id to filter by. Clients that do not know it send other values, meaning the current user."""
    given = CREATOR.text()
    if not given:
        return None
    number = parse_whole_number(given)
    return auth.get_current_user().id if number is None else number


def is_vh() -> bool:
    """Return whether `vh` sent the request: some of its defects can be worked around here."""
    return "valohai-cli/" in request.headers.get("User-Agent", "")


def is_followed(execution: Execution) -> bool:
    """Return whether `vh` may be following an execution, which has not ended or has ended less than LINGER_S ago.

    `vh exec logs --stream` and `watch` ask each second for the last 100 events, skip those that they have, and then ask
    for the status. They lose what was printed beyond 100 lines a second, and `logs` loses what was stored between its
    last two requests. Hence they get more events, and a final state a little later.
    """
    if not is_vh():
        return False
    ended = execution.ended_at
    return execution.state not in FINAL or (
        execution.started_at is not None
        and ended is not None
        and clock.count_seconds_between(ended, clock.now()) < LINGER_S
    )


def find_requested_project(db: Database) -> Project | None:
    given = PROJECT.text()
    return get_project(db, given) if given else None


def list_requested_project_ids(db: Database) -> Collection[int] | None:
    """Return the ids of the projects to list: the one of the query, else all that the user may see; None for all."""
    found = find_requested_project(db)
    return [found.id] if found else auth.list_visible_project_ids()


def get_project(db: Database, identifier: str) -> Project:
    """Return the project with that uuid or name, in which the user may do what the view does."""
    try:
        found = projects.get_by_uuid(db, str(uuid.UUID(identifier)))
    except (ValueError, NotFound):
        found = _named(db, identifier)
    auth.enter(found.id, auth.explain_invisible_project(identifier))
    return found


def _named(db: Database, name: str) -> Project:
    try:
        return projects.get_by_name(db, name)
    except NotFound:
        raise NotFound(auth.explain_invisible_project(name)) from None


def get_project_of_body(db: Database, body: Fields[InProject]) -> Project:
    """Return the project of a body, before its other problems are reported. Raises InvalidFields if it names none."""
    name = body.values.get("project")
    if not name:
        raise InvalidFields(body.problems)
    return get_project(db, name)


def get_execution(db: Database, identifier: str) -> Execution:
    return _numbered(
        db, "execution", identifier, executions.get_by_uuid, executions.get_by_counter, executions.get_newest
    )


def get_task(db: Database, identifier: str) -> Task:
    return _numbered(db, "task", identifier, tasks.get_by_uuid, tasks.get_by_counter, tasks.get_newest)


def get_pipeline(db: Database, identifier: str) -> Pipeline:
    return _numbered(db, "pipeline", identifier, pipelines.get_by_uuid, pipelines.get_by_counter, pipelines.get_newest)


def stop(found: Group, request_stop: Callable[[Context, Group, str], None]) -> Json[Message]:
    """Stop a task or a pipeline, unless it has finished."""
    if found.state in FINAL:
        return Json({"message": "Already complete"})
    context = auth.get_context()
    with transaction(context.db):
        request_stop(context, found, auth.get_current_user().username)
    return Json({"message": "Stopping"})


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
    found = get_project(db, owner)
    return newest(db, found.id) if counter == "latest" else by_counter(db, found.id, numbers.parse(counter, "counter"))
