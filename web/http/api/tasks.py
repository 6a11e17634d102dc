"""Tasks: `/tasks/…`."""

from __future__ import annotations

from collections.abc import Sequence

from flask import request

from core.groups import Task
from web.http import auth
from web.http.api import query, serialize, shapes
from web.http.api.answers import Json, Message, Page, make_page
from web.http.api.parameters import DELETED, SELECTION, takes
from web.services import tasks as service
from web.store import pipelines, projects, tasks, trials
from web.store.db import Database


@auth.read
@takes(*SELECTION)
def listing() -> Json[Page[shapes.Task]]:
    """List tasks, newest first, including those of pipelines."""
    db = auth.get_db()
    wanted = query.parse_selection(db)
    if DELETED.flag():
        return make_page([], 0, wanted)
    found, count = tasks.search(db, wanted)
    return make_page(serialize_tasks(db, found), count, wanted)


@auth.read
def detail(identifier: str) -> Json[shapes.Task]:
    """Return a task with the number of its executions by state."""
    db = auth.get_db()
    return Json(serialize_tasks(db, [query.get_task(db, identifier)])[0])


@auth.launch
def stop(identifier: str) -> Json[Message]:
    """Stop the whole task. A finished task stays as it is, without an error."""
    return query.stop(query.get_task(auth.get_db(), identifier), service.request_stop)


def serialize_tasks(db: Database, found: Sequence[Task]) -> list[shapes.Task]:
    """Return tasks as the API shows them."""
    owners = {owner.id: owner for owner in projects.list_projects(db)}
    counts = trials.count_by_state(db, [task.id for task in found])
    of_nodes = pipelines.map_names_by_node(db, {task.pipeline_node_id for task in found if task.pipeline_node_id})
    return [
        serialize.build_task(
            request.url_root, task, owners[task.project_id], of_nodes.get(task.pipeline_node_id or 0), counts[task.id]
        )
        for task in found
    ]
