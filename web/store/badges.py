"""Queries for badges: the newest push to a branch, or of a tag, that launched runs; the newest value of a metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlite_utils import Database

from core.groups import Pipeline, Task
from core.model import EventKind, Execution, Target, TargetKind
from core.states import State
from web.store import executions, pipelines, tasks
from web.store.db import Row, fetch_row, fetch_rows
from web.store.launched import KINDS

BRANCHES, TAGS = "refs/heads/", "refs/tags/"
SHOWN_BRANCHES, SHOWN_METRICS = 100, 200
LOOKED_AT = 50  # newest executions whose metadata keys are offered as metrics
# A re-run push counts at the position of the original push.
PLACE = "COALESCE(push.again_of, push.id)"
# The pushes whose executions count for a push: itself, and a pull request that ran its commit before the push arrived.
SAME_SET = (
    "(SELECT push.id UNION ALL SELECT other.id FROM push AS other JOIN pull_request ON"
    " pull_request.id = other.pull_request_id WHERE other.commit_id = push.commit_id AND NOT pull_request.from_fork"
    " AND other.repository_id = push.repository_id AND push.ref = 'refs/heads/' || pull_request.head_branch)"
)
ALONE = {table: alone for table, _, alone, _ in KINDS.values()}
# Table and condition on the name, by kind. Executions of pipeline nodes count, trials of a task do not: their results
# need not be good.
OF = {
    TargetKind.STEP: ("execution", "execution.task_id IS NULL AND execution.step = ?"),
    TargetKind.TASK: ("task", "task.pipeline_node_id IS NULL AND task.name = ?"),
    TargetKind.PIPELINE: ("pipeline", "pipeline.name = ?"),
}


@dataclass(frozen=True, kw_only=True)
class BadgeChoice:
    """Which pushes and runs count: pushes to `branch`, or of any tag if None; runs of `target`, or all if None.

    With `scheduled`, scheduled runs of the branch count instead of pushes.
    """

    repository_ids: Sequence[int]
    branch: str | None
    target: Target | None = None
    scheduled: bool = False

    @property
    def name(self) -> list[str]:
        """Values for the condition on the target."""
        return [self.target.name] if self.target else []


def list_newest_runs(db: Database, choice: BadgeChoice) -> list[Execution | Task | Pipeline]:
    """List the chosen runs of the newest push that launched any; only the last retry of each execution."""
    wanted = dict([OF[choice.target.kind]]) if choice.target else ALONE
    made = " OR ".join(
        f"EXISTS (SELECT 1 FROM {table} WHERE {table}.push_id IN {SAME_SET} AND {condition})"
        for table, condition in wanted.items()
    )
    push = _newest(db, choice, "push.id", Made(condition=f"({made})", names=choice.name * len(wanted)))
    if push is None:
        return []
    ids = {table: _of_set(db, push["id"], table, condition, choice.name) for table, condition in wanted.items()}
    return [
        *_last_tries(executions.get_many(db, ids.get("execution", []))),
        *tasks.get_many(db, ids.get("task", [])),
        *pipelines.get_many(db, ids.get("pipeline", [])),
    ]


def find_metric(db: Database, choice: BadgeChoice, key: str) -> tuple[Any, str] | None:
    """Return the latest value of a metadata key in the newest completed execution with that key, and when it ended.

    Not for tasks, whose executions are not comparable; see `find_newest_task`.
    """
    if choice.target and choice.target.kind is TargetKind.PIPELINE:
        made = (
            f" CROSS JOIN pipeline ON pipeline.push_id IN {SAME_SET}"
            " CROSS JOIN pipeline_node ON pipeline_node.pipeline_id = pipeline.id"
            " CROSS JOIN execution ON execution.pipeline_node_id = pipeline_node.id AND execution.task_id IS NULL"
        )
    else:
        made = f" CROSS JOIN execution ON execution.push_id IN {SAME_SET} AND execution.task_id IS NULL"
    condition = OF[choice.target.kind][1] if choice.target else "1"
    joined = (
        f"{made} AND execution.state = '{State.COMPLETE}' CROSS JOIN latest ON latest.execution_id = execution.id"
        " AND latest.key_id = (SELECT id FROM metadata_key WHERE name = ?)"
    )
    of_key = Made(joined=joined, keys=[key], condition=condition, names=choice.name, order=", execution.id DESC")
    found = _newest(db, choice, "latest.value, execution.ended_at", of_key)
    if found is None:
        return None
    value = found["value"]
    return (orjson.loads(value) if isinstance(value, str) else value), found["ended_at"]


def find_newest_task(db: Database, choice: BadgeChoice) -> Task | None:
    """Return the newest completed task that `choice` names."""
    joined = f" CROSS JOIN task ON task.push_id IN {SAME_SET} AND task.state = '{State.COMPLETE}'"
    complete = Made(joined=joined, condition=OF[TargetKind.TASK][1], names=choice.name, order=", task.id DESC")
    found = _newest(db, choice, "task.id", complete)
    return tasks.get(db, found["id"]) if found else None


def list_branches(db: Database, repository_ids: Sequence[int]) -> list[str]:
    """List pushed branches, the most recently pushed first."""
    marks = ", ".join("?" * len(repository_ids))
    sql = (
        f"SELECT ref FROM push WHERE repository_id IN ({marks}) AND ref >= ? AND ref < ?"
        " GROUP BY ref ORDER BY MAX(id) DESC LIMIT ?"
    )
    found = fetch_rows(db, sql, [*repository_ids, *_range(BRANCHES), SHOWN_BRANCHES])
    return [item["ref"].removeprefix(BRANCHES) for item in found]


def list_group_names(db: Database, project_id: int, kind: TargetKind) -> list[str]:
    """List the names of tasks or pipelines that events have launched."""
    table, _ = OF[kind]
    sql = f"SELECT DISTINCT name FROM {table} WHERE project_id = ? AND push_id IS NOT NULL AND {ALONE[table]} ORDER BY name"
    return [found["name"] for found in fetch_rows(db, sql, (project_id,))]


def list_metrics(db: Database, project_id: int) -> list[str]:
    """List the metadata keys with numbers in the newest completed executions of a project."""
    sql = (
        "SELECT DISTINCT metadata_key.name FROM latest JOIN metadata_key ON metadata_key.id = latest.key_id"
        " WHERE latest.number IS NOT NULL AND latest.execution_id IN (SELECT id FROM execution"
        f" WHERE project_id = ? AND state = '{State.COMPLETE}' ORDER BY counter DESC LIMIT ?) ORDER BY metadata_key.name LIMIT ?"
    )
    return [found["name"] for found in fetch_rows(db, sql, (project_id, LOOKED_AT, SHOWN_METRICS))]


@dataclass(frozen=True, kw_only=True)
class Made:
    """SQL about what a push launched: tables joined to it, with values `keys`, and a condition, with values `names`."""

    joined: str = ""
    keys: Sequence[str] = ()
    condition: str
    names: Sequence[str]
    order: str = ""


def _newest(db: Database, choice: BadgeChoice, columns: str, made: Made) -> Row | None:
    """Return the newest matching row; queries each repository separately, so that its index gives the order."""
    if choice.branch is None:
        where, asked = "push.ref >= ? AND push.ref < ?", _range(TAGS)
    else:
        where, asked = "push.ref = ?", [BRANCHES + choice.branch]
    gone = {} if choice.branch is None else {id_: _deleted_at(db, id_, asked[0]) for id_ in choice.repository_ids}
    kind = EventKind.SCHEDULE if choice.scheduled else EventKind.PUSH
    sql = (
        f"SELECT {columns}, {PLACE} AS place FROM push{made.joined}"
        f" WHERE push.repository_id = ? AND NOT push.late AND {where} AND {PLACE} > ? AND push.kind = ? AND {made.condition}"
        f" ORDER BY {PLACE} DESC, push.id DESC{made.order} LIMIT 1"
    )
    found = [
        fetch_row(db, sql, [*made.keys, repository_id, *asked, gone.get(repository_id, 0), kind, *made.names])
        for repository_id in choice.repository_ids
    ]
    return max(filter(None, found), key=lambda item: item["place"], default=None)


def _deleted_at(db: Database, repository_id: int, ref: str) -> int:
    """Return the id of the last push that deleted a branch, or 0: earlier pushes do not count after a deletion."""
    sql = (
        "SELECT MAX(id) AS id FROM push WHERE repository_id = ? AND ref = ? AND kind = 'push' AND NOT late"
        " AND again_of IS NULL AND TRIM(after, '0') = ''"
    )
    found = fetch_row(db, sql, (repository_id, ref))
    return int(found["id"] or 0) if found else 0


def _of_set(db: Database, push_id: int, table: str, condition: str, values: Sequence[str]) -> list[int]:
    sql = f"SELECT {table}.id FROM push JOIN {table} ON {table}.push_id IN {SAME_SET} WHERE push.id = ? AND {condition}"
    return [found["id"] for found in fetch_rows(db, f"{sql} ORDER BY 1", [push_id, *values])]


def _last_tries(found: Sequence[Execution]) -> list[Execution]:
    """Remove executions that have a re-run. `found` is in the order of creation."""
    again = {execution.retry_of for execution in found}
    newest = {execution.pipeline_node_id: execution.id for execution in found if execution.pipeline_node_id}
    return [e for e in found if e.id not in again and e.id == newest.get(e.pipeline_node_id or 0, e.id)]


def _range(prefix: str) -> list[str]:
    """Return bounds (inclusive, exclusive) of strings that start with `prefix`."""
    return [prefix, prefix[:-1] + chr(ord(prefix[-1]) + 1)]
