"""Executions: `/executions/…`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypedDict, cast

from flask import request
from msgspec import Meta

from core.model import Change, Execution, ListedExecution
from core.states import FINAL, State
from core.text import make_printable
from web.config.overrides import MAX_TAGS, TAG_CHARS
from web.http import auth
from web.http.api import query, serialize, shapes
from web.http.api.answers import Empty, Json, Message, Page, make_page
from web.http.api.body import read_fields
from web.http.api.data import serialize_data
from web.http.api.parameters import SELECTION, Words, takes
from web.services.executions import lifecycle, tags
from web.store import commits, data, environments, executions, metadata, pipelines, projects, tasks
from web.store.db import Database

CELL = 120  # most characters of a cell
EXCLUDABLE = frozenset(
    {"cumulative_metadata", "environment_variables", "events", "inputs", "metadata", "outputs", "tags"}
)
EXCLUDE = Words("exclude", f"Fields to leave out, separated by commas: {', '.join(sorted(EXCLUDABLE))}.")


class Tags(TypedDict):
    """The tags of an execution."""

    tags: Annotated[
        list[str],
        Meta(
            description=f"At most {MAX_TAGS} of at most {TAG_CHARS} printable characters.",
            examples=[["baseline"]],
        ),
    ]


@auth.read
@takes(*SELECTION)
def listing() -> Json[Page[shapes.Execution]]:
    """List executions, newest first, without inputs and outputs."""
    db = auth.get_db()
    wanted = query.parse_selection(db)
    found, count = executions.search_listed(db, wanted)
    return make_page(_objects(db, found), count, wanted)


@auth.read
@takes(EXCLUDE)
def detail(identifier: str) -> Json[shapes.ExecutionDetail]:
    """Return an execution with its inputs, outputs and latest metadata."""
    db, excluded = auth.get_db(), EXCLUDE.words()
    found = query.get_execution(db, identifier)
    result = serialize_detail(db, found)
    if not excluded and found.state in FINAL and query.is_followed(found):
        result["status"] = str(State.STARTED)
    kept: dict[str, Any] = {key: value for key, value in result.items() if key not in excluded & EXCLUDABLE}
    if query.is_vh():
        kept["changed"] = _one_cell(found.changed)
    return Json(cast(shapes.ExecutionDetail, kept))


def _one_cell(changes: Sequence[Change]) -> str:
    """Return changes as `vh exec info` can show them: each field is a cell of a table that must fit the terminal."""
    text = make_printable(", ".join(f"{one.name} {one.before or '-'} → {one.after or '-'}" for one in changes), " ")
    return text if len(text) <= CELL else f"{text[: CELL - 1]}…"


def serialize_detail(db: Database, found: Execution) -> shapes.ExecutionDetail:
    """Return an execution with its inputs and outputs."""
    return serialize.build_execution_detail(
        request.url_root,
        found,
        _related(db, [found])(found),
        latest=metadata.get_latest(db, found.id),
        outputs=serialize_data(db, data.list_outputs(db, found.id)),
    )


@auth.launch
def stop(identifier: str) -> Json[Message]:
    """Stop an execution; a second request kills it. A finished execution stays as it is, without an error."""
    found = query.get_execution(auth.get_db(), identifier)
    if found.state in FINAL:
        return Json({"message": "Already complete"})
    stopped = lifecycle.request_stop(auth.get_context(), found.uuid, auth.get_current_user().username)
    if stopped.state not in FINAL:
        return Json({"message": "Stopping" if stopped.stop_count == 1 else "Killing"})
    return Json({"message": "Stopped"})


@auth.launch
@takes(fails=(409,))
def remove(identifier: str) -> Empty:
    """Delete a finished execution. It is only listed with `deleted=true` then, and its number is not used again."""
    lifecycle.delete(auth.get_db(), query.get_execution(auth.get_db(), identifier).uuid)
    return Empty()


@auth.launch
@takes(body=Tags)
def set_tags(identifier: str) -> Json[Tags]:
    """Replace the tags of an execution."""
    db = auth.get_db()
    found = query.get_execution(db, identifier)
    kept = tags.normalize(read_fields(Tags)["tags"])
    executions.set_tags(db, found, kept)
    return Json({"tags": kept})


def _objects(db: Database, found: Sequence[ListedExecution]) -> list[shapes.Execution]:
    ids = [execution.id for execution in found]
    latest, outputs, related = (
        metadata.map_latest_by_execution(db, ids),
        data.count_by_execution(db, ids),
        _related(db, found),
    )
    root = request.url_root
    return [
        serialize.build_execution(
            root, one, related(one), latest=latest.get(one.id, {}), n_outputs=outputs.get(one.id, 0)
        )
        for one in found
    ]


def _related(db: Database, found: Sequence[ListedExecution]) -> Callable[[ListedExecution], serialize.Related]:
    """Return a function from an execution to what it belongs to."""
    root, owners = request.url_root, {owner.id: owner for owner in projects.list_projects(db)}
    made_from = commits.get_many(db, {execution.commit_id for execution in found})
    of_projects = {number: serialize.build_project(root, owner) for number, owner in owners.items()}
    of_commits = {key: serialize.build_commit(root, owners[one.project_id], one) for key, one in made_from.items()}
    known = {name: serialize.build_environment(root, one) for name, one in environments.map_by_slug(db).items()}
    of_tasks = tasks.map_names(db, {item.task_id for item in found if item.task_id is not None})
    nodes = {item.pipeline_node_id for item in found if item.pipeline_node_id is not None}
    of_pipelines = pipelines.map_names_by_node(db, nodes)
    return lambda item: serialize.Related(
        project=of_projects[item.project_id],
        commit=of_commits[item.commit_id],
        environment=known.get(item.environment),
        task=of_tasks.get(item.task_id or 0),
        pipeline=of_pipelines.get(item.pipeline_node_id or 0),
    )
