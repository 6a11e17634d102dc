"""Pipelines: `/pipelines/…`."""

from __future__ import annotations

from collections.abc import Sequence

from flask import request

from core.groups import Pipeline, Task
from core.model import Execution
from web.http import auth
from web.http.api import query, serialize, shapes
from web.http.api.answers import Json, Message, Page, make_page
from web.http.api.parameters import DELETED, SELECTION, takes
from web.services import pipelines as service
from web.store import pipelines, projects
from web.store.db import Database


@auth.read
@takes(*SELECTION)
def listing() -> Json[Page[shapes.Pipeline]]:
    """List pipelines, newest first, without their nodes."""
    db = auth.get_db()
    wanted = query.parse_selection(db)
    if DELETED.flag():
        return make_page([], 0, wanted)
    found, count = pipelines.search(db, wanted)
    owners = {owner.id: owner for owner in projects.list_projects(db)}
    results = [serialize.build_pipeline(request.url_root, item, owners[item.project_id]) for item in found]
    return make_page(results, count, wanted)


@auth.read
def detail(identifier: str) -> Json[shapes.PipelineDetail]:
    """Return a pipeline with its nodes."""
    db = auth.get_db()
    return Json(serialize_detail(db, query.get_pipeline(db, identifier)))


def serialize_detail(db: Database, found: Pipeline) -> shapes.PipelineDetail:
    """Return a pipeline with its nodes."""
    nodes = pipelines.list_nodes(db, found.id)
    made = _made(db, [node.id for node in nodes])
    owner = projects.get(db, found.project_id)
    return serialize.build_pipeline_detail(
        request.url_root, found, owner, [(node, made.get(node.id)) for node in nodes]
    )


@auth.launch
def stop(identifier: str) -> Json[Message]:
    """Stop the whole pipeline. A finished pipeline stays as it is, without an error."""
    return query.stop(query.get_pipeline(auth.get_db(), identifier), service.request_stop)


def _made(db: Database, node_ids: Sequence[int]) -> dict[int, serialize.Name]:
    """Return, by node id, uuid and number of the newest execution or task of the node: the one that counts."""
    made: dict[int, Execution | Task] = {
        **pipelines.map_newest_executions(db, node_ids),
        **pipelines.map_newest_tasks(db, node_ids),
    }
    return {node_id: (item.uuid, item.counter) for node_id, item in made.items()}
