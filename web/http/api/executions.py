"""Executions: `/executions/…`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypedDict, cast

from flask import request
from msgspec import Meta

from core.model import Change, Execution, ListedExecution
from core.states import FINAL, State
from core.text import printable
from web.http import auth
from web.http.api import query, serialize, shapes
from web.http.api.answers import Empty, Json, Message, Page, paginated
from web.http.api.body import fields
from web.http.api.data import objects
from web.http.api.parameters import SELECTION, Words, takes
from web.services.executions import lifecycle, tags
from web.store import commits, data, environments, executions, metadata, pipelines, projects, tasks
from web.store.db import Database

CELL = 120  # characters
EXCLUDABLE = frozenset(
    {"cumulative_metadata", "environment_variables", "events", "inputs", "metadata", "outputs", "tags"}
)
EXCLUDE = Words("exclude", f"Fields to leave out, separated by commas: {', '.join(sorted(EXCLUDABLE))}.")


class Tags(TypedDict):
    """The tags of an execution."""

    tags: Annotated[
        list[str],
        Meta(
            description=f"At most {tags.MOST} of at most {tags.CHARACTERS} printable characters.",
            examples=[["baseline"]],
        ),
    ]


@auth.read
@takes(*SELECTION)
def listing() -> Json[Page[shapes.Execution]]:
    """List executions, newest first, without inputs and outputs."""
    db = auth.db()
    wanted = query.selection(db)
    found, count = executions.search_listed(db, wanted)
    return paginated(_objects(db, found), count, wanted)


@auth.read
@takes(EXCLUDE)
def detail(identifier: str) -> Json[shapes.ExecutionDetail]:
    """Return an execution with its inputs, outputs and latest metadata."""
    db, excluded = auth.db(), EXCLUDE.words()
    found = query.execution(db, identifier)
    result = whole(db, found)
    if not excluded and found.state in FINAL and query.follows(found):
        result["status"] = str(State.STARTED)
    kept: dict[str, Any] = {key: value for key, value in result.items() if key not in excluded & EXCLUDABLE}
    if query.is_vh():
        kept["changed"] = _one_cell(found.changed)
    return Json(cast(shapes.ExecutionDetail, kept))


def _one_cell(changes: Sequence[Change]) -> str:
    """Return changes as `vh exec info` can show them: each field is a cell of a table that must fit the terminal."""
    text = printable(", ".join(f"{one.name} {one.before or '-'} → {one.after or '-'}" for one in changes), " ")
    return text if len(text) <= CELL else f"{text[: CELL - 1]}…"


def whole(db: Database, found: Execution) -> shapes.ExecutionDetail:
    """Return an execution with its inputs and outputs."""
    return serialize.execution_detail(
        request.url_root,
        found,
        _related(db, [found])(found),
        latest=metadata.latest(db, found.id),
        outputs=objects(db, data.of_execution(db, found.id)),
    )


@auth.launch
def stop(identifier: str) -> Json[Message]:
    """Stop an execution; a second request kills it. A finished execution stays as it is, without an error."""
    db, server = auth.db(), auth.server()
    found = query.execution(db, identifier)
    if found.state in FINAL:
        return Json({"message": "Already complete"})
    stopped = lifecycle.request_stop(db, server.config.logs_dir, found.uuid, auth.current_user().username)
    if stopped.state not in FINAL:
        return Json({"message": "Stopping" if stopped.stop_count == 1 else "Killing"})
    return Json({"message": "Stopped"})


@auth.launch
@takes(fails=(409,))
def remove(identifier: str) -> Empty:
    """Delete a finished execution. It is only listed with `deleted=true` then, and its number is not used again."""
    lifecycle.delete(auth.db(), query.execution(auth.db(), identifier).uuid)
    return Empty()


@auth.launch
@takes(body=Tags)
def set_tags(identifier: str) -> Json[Tags]:
    """Replace the tags of an execution."""
    db = auth.db()
    found = query.execution(db, identifier)
    kept = tags.checked(fields(Tags)["tags"])
    executions.set_tags(db, found, kept)
    return Json({"tags": kept})


def _objects(db: Database, found: Sequence[ListedExecution]) -> list[shapes.Execution]:
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
