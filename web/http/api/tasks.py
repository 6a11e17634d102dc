"""Tasks: `/tasks/…`."""

from __future__ import annotations

from collections.abc import Sequence

from flask import request

from core.groups import Task
from web.http import auth
from web.http.api import query, serialize, shapes
from web.http.api.answers import Json, Message, Page, paginated
from web.http.api.parameters import DELETED, SELECTION, takes
from web.services import tasks as service
from web.store import pipelines, projects, tasks, trials
from web.store.db import Database


@auth.read
@takes(*SELECTION)
def listing() -> Json[Page[shapes.Task]]:
    """List tasks, newest first, including those of pipelines."""
    db = auth.db()
    wanted = query.selection(db)
    if DELETED.flag():
        return paginated([], 0, wanted)
    found, count = tasks.search(db, wanted)
    return paginated(objects(db, found), count, wanted)


@auth.read
def detail(identifier: str) -> Json[shapes.Task]:
    """Return a task with the number of its executions by state."""
    db = auth.db()
    return Json(objects(db, [query.task(db, identifier)])[0])


@auth.launch
def stop(identifier: str) -> Json[Message]:
    """Stop the whole task. A finished task stays as it is, without an error."""
    return query.stop(query.task(auth.db(), identifier), service.request_stop)


def objects(db: Database, found: Sequence[Task]) -> list[shapes.Task]:
    """Return tasks as the API shows them."""
    owners = {owner.id: owner for owner in projects.listing(db)}
    counts = trials.counts(db, [task.id for task in found])
    of_nodes = pipelines.names_by_node(db, {task.pipeline_node_id for task in found if task.pipeline_node_id})
    return [
        serialize.task(
            request.url_root, task, owners[task.project_id], of_nodes.get(task.pipeline_node_id or 0), counts[task.id]
        )
        for task in found
    ]
