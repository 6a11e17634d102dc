"""Executions: `/executions/…`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from flask import Response, request

from core.errors import InvalidInput
from core.model import Change, Execution, ListedExecution
from core.states import FINAL, State
from core.text import printable
from web.http import auth
from web.http.api import query, serialize
from web.http.api.answers import json_response, paginated
from web.http.api.data import objects
from web.services.executions import lifecycle
from web.store import commits, data, environments, executions, metadata, pipelines, projects, tasks
from web.store.db import Database

MAX_TAGS, MAX_TAG = 100, 100
CELL = 120  # characters


@auth.read
def listing() -> Response:
    db = auth.db()
    wanted = query.selection(db)
    found, count = executions.search_listed(db, wanted)
    return paginated(_objects(db, found), count, wanted)


@auth.read
def detail(identifier: str) -> Response:
    db, excluded = auth.db(), query.words("exclude")
    found = query.execution(db, identifier)
    result = whole(db, found)
    if not excluded and found.state in FINAL and query.follows(found):
        result["status"] = str(State.STARTED)
    if query.is_vh():
        result["changed"] = _one_cell(found.changed)
    return json_response({key: value for key, value in result.items() if key not in excluded})


def _one_cell(changes: Sequence[Change]) -> str:
    """Return changes as `vh exec info` can show them: each field is a cell of a table that must fit the terminal."""
    text = printable(", ".join(f"{one.name} {one.before or '-'} → {one.after or '-'}" for one in changes), " ")
    return text if len(text) <= CELL else f"{text[: CELL - 1]}…"


def whole(db: Database, found: Execution) -> serialize.Json:
    """Return an execution with its inputs and outputs."""
    return serialize.execution_detail(
        request.url_root,
        found,
        _related(db, [found])(found),
        latest=metadata.latest(db, found.id),
        outputs=objects(db, data.of_execution(db, found.id)),
    )


@auth.launch
def stop(identifier: str) -> Response:
    """Stop an execution; a second request kills it. A finished execution stays as it is, without an error."""
    db, server = auth.db(), auth.server()
    found = query.execution(db, identifier)
    if found.state in FINAL:
        return json_response({"message": "Already complete"})
    stopped = lifecycle.request_stop(db, server.config.logs_dir, found.uuid, auth.current_user().username)
    if stopped.state not in FINAL:
        return json_response({"message": "Stopping" if stopped.stop_count == 1 else "Killing"})
    return json_response({"message": "Stopped"})


@auth.launch
def remove(identifier: str) -> Response:
    """Delete a finished execution: it is only listed with `deleted=true` then, and its number is not used again."""
    lifecycle.delete(auth.db(), query.execution(auth.db(), identifier).uuid)
    return Response(status=204)


@auth.launch
def set_tags(identifier: str) -> Response:
    """Replace the tags of an execution by `tags`, a list of text."""
    db, given = auth.db(), query.fields()
    found = query.execution(db, identifier)
    tags = given.get("tags") if request.is_json else request.form.getlist("tags")
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise InvalidInput('tags must be a list of text, such as {"tags": ["baseline"]}', field="tags")
    kept = list(dict.fromkeys(tag.strip() for tag in tags if tag.strip()))
    if len(kept) > MAX_TAGS or any(len(tag) > MAX_TAG or printable(tag) != tag for tag in kept):
        raise InvalidInput(f"there may be {MAX_TAGS} tags of {MAX_TAG} printable characters", field="tags")
    executions.set_tags(db, found, kept)
    return json_response({"tags": kept})


def _objects(db: Database, found: Sequence[ListedExecution]) -> list[serialize.Json]:
    ids = [execution.id for execution in found]
    latest, outputs, related = metadata.latest_of(db, ids), data.output_counts(db, ids), _related(db, found)
    root = request.url_root
    return [
        serialize.execution(root, one, related(one), latest=latest.get(one.id, {}), n_outputs=outputs.get(one.id, 0))
        for one in found
    ]


def _related(db: Database, found: Sequence[ListedExecution]) -> Callable[[ListedExecution], serialize.Related]:
    """Return a function from an execution to what it belongs to."""
    root, owners = request.url_root, {owner.id: owner for owner in projects.listing(db)}
    made_from = commits.get_many(db, {execution.commit_id for execution in found})
    of_projects = {number: serialize.project(root, owner) for number, owner in owners.items()}
    of_commits = {key: serialize.commit(root, owners[one.project_id], one) for key, one in made_from.items()}
    known = {name: serialize.environment(root, one) for name, one in environments.by_name(db).items()}
    of_tasks = tasks.names(db, {item.task_id for item in found if item.task_id is not None})
    nodes = {item.pipeline_node_id for item in found if item.pipeline_node_id is not None}
    of_pipelines = pipelines.names_by_node(db, nodes)
    return lambda item: serialize.Related(
        project=of_projects[item.project_id],
        commit=of_commits[item.commit_id],
        environment=known.get(item.environment),
        task=of_tasks.get(item.task_id or 0),
        pipeline=of_pipelines.get(item.pipeline_node_id or 0),
    )
