"""Pipelines and their nodes, and the executions and tasks of nodes."""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlite_utils import Database

from core import clock
from core.errors import NotFound
from core.groups import Pipeline, PipelineNode, Task
from core.model import Execution
from core.states import UNFINISHED_GROUP, State
from web.store import executions, groups, tasks
from web.store.db import Row, insert, needs_transaction, row, rows, sql_list
from web.store.projects import take_counter

JSON_COLUMNS = ("config", "parameters")
SELECT = (
    "SELECT pipeline.*, git_commit.identifier AS commit_identifier, user.username AS creator FROM pipeline"
    " JOIN git_commit ON git_commit.id = pipeline.commit_id JOIN user ON user.id = pipeline.creator_id"
)


@needs_transaction
def add(db: Database, values: Mapping[str, Any], nodes: Sequence[tuple[str, str]]) -> Pipeline:
    """Create a pipeline in `created` with the next counter of its project.

    `values` are columns; JSON columns are given as Python values. `nodes` are (name, kind) in file order.
    """
    encoded = {key: json.dumps(value) if key in JSON_COLUMNS else value for key, value in values.items()}
    counter = take_counter(db, values["project_id"], "pipeline")
    own = {"uuid": str(uuid.uuid4()), "counter": counter, "state": State.CREATED, "created_at": clock.now()}
    pipeline_id = insert(db, "pipeline", encoded | own)
    for position, (name, kind) in enumerate(nodes):
        node = {"uuid": str(uuid.uuid4()), "pipeline_id": pipeline_id, "position": position, "name": name, "kind": kind}
        insert(db, "pipeline_node", node | {"state": State.CREATED})
    return get(db, pipeline_id)


def get(db: Database, pipeline_id: int) -> Pipeline:
    return _one(row(db, f"{SELECT} WHERE pipeline.id = ?", (pipeline_id,)), pipeline_id)


def by_uuid(db: Database, pipeline_uuid: str) -> Pipeline:
    return _one(row(db, f"{SELECT} WHERE pipeline.uuid = ?", (pipeline_uuid,)), pipeline_uuid)


def by_counter(db: Database, project_id: int, counter: int) -> Pipeline:
    sql = f"{SELECT} WHERE pipeline.project_id = ? AND pipeline.counter = ?"
    return _one(row(db, sql, (project_id, counter)), f"={counter}")


def newest(db: Database, project_id: int) -> Pipeline:
    sql = f"{SELECT} WHERE pipeline.project_id = ? ORDER BY pipeline.counter DESC LIMIT 1"
    return _one(row(db, sql, (project_id,)), "latest")


def of_ids(db: Database, pipeline_ids: Sequence[int]) -> list[Pipeline]:
    """Return pipelines in the order of the given ids."""
    marks = ", ".join("?" * len(pipeline_ids))
    found = {item["id"]: item for item in rows(db, f"{SELECT} WHERE pipeline.id IN ({marks})", list(pipeline_ids))}
    return [_pipeline(found[pipeline_id]) for pipeline_id in pipeline_ids if pipeline_id in found]


def of_commit(db: Database, commit_id: int) -> list[Pipeline]:
    """List the pipelines of a commit by counter."""
    sql = f"{SELECT} WHERE pipeline.commit_id = ? ORDER BY pipeline.id"
    return [_pipeline(found) for found in rows(db, sql, (commit_id,))]


def unfinished(db: Database) -> list[Pipeline]:
    """List unfinished pipelines, oldest first."""
    return [
        _pipeline(found)
        for found in rows(db, f"{SELECT} WHERE pipeline.state IN {sql_list(UNFINISHED_GROUP)} ORDER BY pipeline.id")
    ]


def search(
    db: Database,
    project_id: int | None,
    *,
    statuses: Sequence[str] = (),
    counters: Sequence[int] = (),
    creator_id: int | None = None,
    order: str = "counter DESC",
    limit: int = 100,
    offset: int = 0,
) -> tuple[list[Pipeline], int]:
    """Return pipelines that match every given filter, and their number without the limit.

    `statuses` are states, `stopping` and `incomplete`. `order` is SQL from the caller, never user input.
    """
    where, values = groups.where("pipeline", project_id, statuses, counters, creator_id)
    count = row(db, f"SELECT COUNT(*) AS n FROM pipeline {where}", values)
    sql = f"{SELECT} {where} ORDER BY pipeline.{order} LIMIT ? OFFSET ?"
    found = rows(db, sql, [*values, limit, offset])
    return [_pipeline(item) for item in found], int(count["n"]) if count else 0


def nodes(db: Database, pipeline_id: int) -> list[PipelineNode]:
    """List the nodes of a pipeline in file order."""
    found = rows(db, "SELECT * FROM pipeline_node WHERE pipeline_id = ? ORDER BY position", (pipeline_id,))
    return [_node(item) for item in found]


def node(db: Database, node_id: int) -> PipelineNode:
    found = row(db, "SELECT * FROM pipeline_node WHERE id = ?", (node_id,))
    if found is None:
        raise NotFound(f"there is no pipeline node {node_id}")
    return _node(found)


def names_by_node(db: Database, node_ids: Collection[int]) -> dict[int, tuple[str, int]]:
    """Return (uuid, counter) of the pipeline by node id."""
    marks = ", ".join("?" * len(node_ids))
    sql = (
        "SELECT pipeline_node.id, pipeline.uuid, pipeline.counter FROM pipeline_node"
        f" JOIN pipeline ON pipeline.id = pipeline_node.pipeline_id WHERE pipeline_node.id IN ({marks})"
    )
    return {item["id"]: (item["uuid"], item["counter"]) for item in rows(db, sql, list(node_ids))}


def of_nodes(db: Database, node_ids: Sequence[int]) -> dict[int, tuple[Pipeline, str]]:
    """Return (pipeline, node name) by node id."""
    marks = ", ".join("?" * len(node_ids))
    found = rows(db, f"SELECT id, pipeline_id, name FROM pipeline_node WHERE id IN ({marks})", list(node_ids))
    by_id = {pipeline.id: pipeline for pipeline in of_ids(db, list({item["pipeline_id"] for item in found}))}
    return {item["id"]: (by_id[item["pipeline_id"]], item["name"]) for item in found}


def newest_executions(db: Database, node_ids: Sequence[int]) -> list[Execution]:
    """Return the newest execution of each node that has one."""
    return executions.of_ids(db, _newest(db, "execution", "AND task_id IS NULL", node_ids))


def newest_tasks(db: Database, node_ids: Sequence[int]) -> list[Task]:
    """Return the newest task of each node that has one."""
    return tasks.of_ids(db, _newest(db, "task", "", node_ids))


def _newest(db: Database, table: str, condition: str, node_ids: Sequence[int]) -> list[int]:
    marks = ", ".join("?" * len(node_ids))
    sql = f"SELECT MAX(id) AS id FROM {table} WHERE pipeline_node_id IN ({marks}) {condition} GROUP BY pipeline_node_id"
    return [found["id"] for found in rows(db, sql, list(node_ids))]


def _one(found: Row | None, asked: object) -> Pipeline:
    if found is None:
        raise NotFound(f"there is no pipeline {asked}")
    return _pipeline(found)


def _pipeline(found: Row) -> Pipeline:
    values = {name: found[name] for name in Pipeline.__dataclass_fields__}
    values |= {name: json.loads(found[name]) for name in JSON_COLUMNS}
    ending = State(found["ending"]) if found["ending"] else None
    return Pipeline(**values | {"state": State(found["state"]), "ending": ending})


def _node(found: Row) -> PipelineNode:
    values = {name: found[name] for name in PipelineNode.__dataclass_fields__}
    return PipelineNode(**values | {"state": State(found["state"]), "skipped": bool(found["skipped"])})
