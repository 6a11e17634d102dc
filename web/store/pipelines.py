"""Pipelines and their nodes, and the executions and tasks of nodes."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from sqlite_utils import Database

from core import clock
from core.errors import NotFound
from core.groups import Pipeline, PipelineNode, Task
from core.model import Execution
from core.states import State
from web.store import executions, tasks
from web.store.db import Row, fetch_row, fetch_rows, insert
from web.store.group_table import GroupTable

MOST_COMPARED = 100

_table = GroupTable(Pipeline, "pipeline", "=")
get, get_many, get_newest = _table.get, _table.get_many, _table.get_newest
get_by_uuid, get_by_counter = _table.get_by_uuid, _table.get_by_counter
list_for_commits, list_unfinished, search = _table.list_for_commits, _table.list_unfinished, _table.search


def add(
    db: Database,
    values: Mapping[str, Any],
    nodes: Sequence[tuple[str, str]],
    reused: Mapping[str, int] = MappingProxyType({}),
) -> Pipeline:
    """Create a pipeline in `created` with the next counter of its project.

    `values` are columns, not encoded. `nodes` are (name, kind) in file order. Nodes in `reused` are complete: they have
    the run of the node with this row number.
    """
    pipeline_id = _table.insert(db, values)
    for position, (name, kind) in enumerate(nodes):
        node = {"uuid": str(uuid.uuid4()), "pipeline_id": pipeline_id, "position": position, "name": name, "kind": kind}
        source, now = reused.get(name), clock.now()
        over: Row = {"state": State.COMPLETE, "source_id": source, "started_at": now, "ended_at": now}
        insert(db, "pipeline_node", node | (over if source else {"state": State.CREATED}))
    return get(db, pipeline_id)


def list_nodes(db: Database, pipeline_id: int) -> list[PipelineNode]:
    """List the nodes of a pipeline in file order."""
    return list_nodes_by_pipeline(db, [pipeline_id])[pipeline_id]


def list_nodes_by_pipeline(db: Database, pipeline_ids: Sequence[int]) -> dict[int, list[PipelineNode]]:
    """List the nodes by pipeline id, in file order."""
    marks = ", ".join("?" * len(pipeline_ids))
    found = fetch_rows(
        db, f"SELECT * FROM pipeline_node WHERE pipeline_id IN ({marks}) ORDER BY position", list(pipeline_ids)
    )
    result: dict[int, list[PipelineNode]] = {pipeline_id: [] for pipeline_id in pipeline_ids}
    for item in found:
        result[item["pipeline_id"]].append(_node(item))
    return result


def get_node(db: Database, node_id: int) -> PipelineNode:
    found = fetch_row(db, "SELECT * FROM pipeline_node WHERE id = ?", (node_id,))
    if found is None:
        raise NotFound(f"there is no pipeline node {node_id}")
    return _node(found)


def get_node_by_uuid(db: Database, node_uuid: str) -> PipelineNode:
    found = fetch_row(db, "SELECT * FROM pipeline_node WHERE uuid = ?", (node_uuid,))
    if found is None:
        raise NotFound(f"there is no pipeline node {node_uuid[:80]}")
    return _node(found)


def map_names_by_node(db: Database, node_ids: Collection[int]) -> dict[int, tuple[str, int]]:
    """Return (uuid, counter) of the pipeline by node id."""
    marks = ", ".join("?" * len(node_ids))
    sql = (
        "SELECT pipeline_node.id, pipeline.uuid, pipeline.counter FROM pipeline_node"
        f" JOIN pipeline ON pipeline.id = pipeline_node.pipeline_id WHERE pipeline_node.id IN ({marks})"
    )
    return {item["id"]: (item["uuid"], item["counter"]) for item in fetch_rows(db, sql, list(node_ids))}


def map_by_node(db: Database, node_ids: Sequence[int]) -> dict[int, tuple[Pipeline, str]]:
    """Return (pipeline, node name) by node id."""
    if not node_ids:
        return {}
    marks = ", ".join("?" * len(node_ids))
    found = fetch_rows(db, f"SELECT id, pipeline_id, name FROM pipeline_node WHERE id IN ({marks})", list(node_ids))
    by_id = {pipeline.id: pipeline for pipeline in get_many(db, list({item["pipeline_id"] for item in found}))}
    return {item["id"]: (by_id[item["pipeline_id"]], item["name"]) for item in found}


def map_newest_executions(db: Database, node_ids: Sequence[int]) -> dict[int, Execution]:
    """Return the newest execution by node id, for nodes that have one."""
    newest = _newest(db, "execution", "AND task_id IS NULL", node_ids)
    found = {made.id: made for made in executions.get_many(db, list(newest.values()))}
    return {node_id: found[made_id] for node_id, made_id in newest.items()}


def map_newest_tasks(db: Database, node_ids: Sequence[int]) -> dict[int, Task]:
    """Return the newest task by node id, for nodes that have one."""
    newest = _newest(db, "task", "", node_ids)
    found = {made.id: made for made in tasks.get_many(db, list(newest.values()))}
    return {node_id: found[made_id] for node_id, made_id in newest.items()}


def complete_runs(db: Database, commit_id: int, step: str) -> list[Execution]:
    """List executions of complete nodes that ran a step of a commit and have all their outputs, newest first.

    Each is the newest of its node.
    """
    sql = (
        "SELECT made.id FROM execution AS made JOIN pipeline_node AS node ON node.id = made.pipeline_node_id"
        " WHERE made.commit_id = ? AND made.step = ? AND made.task_id IS NULL AND made.deleted_at IS NULL"
        f" AND made.state = '{State.COMPLETE}' AND node.state = '{State.COMPLETE}' AND node.kind = 'execution' AND NOT EXISTS"
        " (SELECT 1 FROM execution AS later WHERE later.pipeline_node_id = node.id AND later.id > made.id) AND NOT EXISTS"
        " (SELECT 1 FROM datum WHERE datum.execution_id = made.id AND datum.purged_at IS NOT NULL)"
        " ORDER BY made.id DESC LIMIT ?"
    )
    return executions.get_many(db, [found["id"] for found in fetch_rows(db, sql, (commit_id, step, MOST_COMPARED))])


def _newest(db: Database, table: str, condition: str, node_ids: Sequence[int]) -> dict[int, int]:
    marks = ", ".join("?" * len(node_ids))
    sql = (
        f"SELECT node.id AS node_id, MAX(made.id) AS made_id FROM pipeline_node AS node JOIN {table} AS made"
        f" ON made.pipeline_node_id = COALESCE(node.source_id, node.id) {condition}"
        f" WHERE node.id IN ({marks}) GROUP BY node.id"
    )
    return {found["node_id"]: found["made_id"] for found in fetch_rows(db, sql, list(node_ids))}


def _node(found: Row) -> PipelineNode:
    values = {name: found[name] for name in PipelineNode.__dataclass_fields__}
    return PipelineNode(**values | {"state": State(found["state"]), "skipped": bool(found["skipped"])})
