"""What badges show: of a branch, or of the tags, the newest push that made executions and the newest value of a metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlite_utils import Database

from core.groups import Pipeline, Task
from core.model import EventKind, Execution, Target, TargetKind
from web.store import executions, pipelines, tasks
from web.store.db import Row, row, rows
from web.store.launched import KINDS

BRANCHES, TAGS = "refs/heads/", "refs/tags/"
SHOWN_BRANCHES, SHOWN_METRICS = 100, 200
LOOKED_AT = 50  # executions whose metadata keys a person may choose from
# A push that was run again counts where the first one stands.
PLACE = "COALESCE(push.again_of, push.id)"
# The pushes whose executions are those of a push: itself, and the pull request that ran its commit before it was told.
SAME_SET = (
    "(SELECT push.id UNION ALL SELECT other.id FROM push AS other JOIN pull_request ON"
    " pull_request.id = other.pull_request_id WHERE other.commit_id = push.commit_id AND NOT pull_request.from_fork"
    " AND other.repository_id = push.repository_id AND push.ref = 'refs/heads/' || pull_request.head_branch)"
)
ALONE = {table: alone for table, _, alone, _ in KINDS.values()}
# What has a name, by its kind: table and condition. An execution may be a node of a pipeline, but no trial of a task: those
# try what need not be good.
OF = {
    TargetKind.STEP: ("execution", "execution.task_id IS NULL AND execution.step = ?"),
    TargetKind.TASK: ("task", "task.pipeline_node_id IS NULL AND task.name = ?"),
    TargetKind.PIPELINE: ("pipeline", "pipeline.name = ?"),
}


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which pushes count: those to one branch, or with None those of any tag; and what they made run, with None all of it.

    With `scheduled` it is the runs of a branch by schedules.
    """

    repository_ids: Sequence[int]
    branch: str | None
    target: Target | None = None
    scheduled: bool = False

    @property
    def name(self) -> list[str]:
        """What the conditions on the target take."""
        return [self.target.name] if self.target else []


def newest(db: Database, choice: Choice) -> list[Execution | Task | Pipeline]:
    """What was asked for of the newest push that made any of it, the last try of each."""
    wanted = dict([OF[choice.target.kind]]) if choice.target else ALONE
    made = " OR ".join(
        f"EXISTS (SELECT 1 FROM {table} WHERE {table}.push_id IN {SAME_SET} AND {condition})"
        for table, condition in wanted.items()
    )
    push = _newest(db, choice, "push.id", "", f"({made})", choice.name * len(wanted))
    if push is None:
        return []
    ids = {table: _of_set(db, push["id"], table, condition, choice.name) for table, condition in wanted.items()}
    return [
        *_last_tries(executions.of_ids(db, ids.get("execution", []))),
        *tasks.of_ids(db, ids.get("task", [])),
        *pipelines.of_ids(db, ids.get("pipeline", [])),
    ]


def metric(db: Database, choice: Choice, key: str) -> tuple[Any, str] | None:
    """The latest value of a metadata key in the newest completed execution that has it, and when that one ended.

    Not for a task, whose executions are not alike.
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
        f"{made} AND execution.state = 'complete' CROSS JOIN latest ON latest.execution_id = execution.id"
        " AND latest.key_id = (SELECT id FROM metadata_key WHERE name = ?)"
    )
    order = ", execution.id DESC"
    found = _newest(db, choice, "latest.value, execution.ended_at", joined, condition, [key, *choice.name], order)
    if found is None:
        return None
    value = found["value"]
    return (orjson.loads(value) if isinstance(value, str) else value), found["ended_at"]


def newest_task(db: Database, choice: Choice) -> Task | None:
    """The newest one that is complete, of those that a task was asked for by."""
    joined = f" CROSS JOIN task ON task.push_id IN {SAME_SET} AND task.state = 'complete'"
    found = _newest(db, choice, "task.id", joined, OF[TargetKind.TASK][1], choice.name, ", task.id DESC")
    return tasks.get(db, found["id"]) if found else None


def branches(db: Database, repository_ids: Sequence[int]) -> list[str]:
    """Those that were pushed, the one pushed last first."""
    marks = ", ".join("?" * len(repository_ids))
    sql = (
        f"SELECT ref FROM push WHERE repository_id IN ({marks}) AND ref >= ? AND ref < ?"
        " GROUP BY ref ORDER BY MAX(id) DESC LIMIT ?"
    )
    found = rows(db, sql, [*repository_ids, *_range(BRANCHES), SHOWN_BRANCHES])
    return [item["ref"].removeprefix(BRANCHES) for item in found]


def groups(db: Database, project_id: int, kind: TargetKind) -> list[str]:
    """The names of the tasks, or of the pipelines, that events have begun."""
    table, _ = OF[kind]
    sql = f"SELECT DISTINCT name FROM {table} WHERE project_id = ? AND push_id IS NOT NULL AND {ALONE[table]} ORDER BY name"
    return [found["name"] for found in rows(db, sql, (project_id,))]


def metrics(db: Database, project_id: int) -> list[str]:
    """The keys that have numbers in the newest completed executions of a project."""
    sql = (
        "SELECT DISTINCT metadata_key.name FROM latest JOIN metadata_key ON metadata_key.id = latest.key_id"
        " WHERE latest.number IS NOT NULL AND latest.execution_id IN (SELECT id FROM execution"
        " WHERE project_id = ? AND state = 'complete' ORDER BY counter DESC LIMIT ?) ORDER BY metadata_key.name LIMIT ?"
    )
    return [found["name"] for found in rows(db, sql, (project_id, LOOKED_AT, SHOWN_METRICS))]


def _newest(
    db: Database, choice: Choice, columns: str, joined: str, condition: str, values: Sequence[str], order: str = ""
) -> Row | None:
    """The newest row of pushes; each repository by itself, which its index serves in order.

    `values` are those of `joined`, then those of `condition`.
    """
    if choice.branch is None:
        where, asked = "push.ref >= ? AND push.ref < ?", _range(TAGS)
    else:
        where, asked = "push.ref = ?", [BRANCHES + choice.branch]
    gone = {} if choice.branch is None else {id_: _deleted_at(db, id_, asked[0]) for id_ in choice.repository_ids}
    before = joined.count("?")
    kind = EventKind.SCHEDULE if choice.scheduled else EventKind.PUSH
    sql = (
        f"SELECT {columns}, {PLACE} AS place FROM push{joined}"
        f" WHERE push.repository_id = ? AND NOT push.late AND {where} AND {PLACE} > ? AND push.kind = ? AND {condition}"
        f" ORDER BY {PLACE} DESC, push.id DESC{order} LIMIT 1"
    )
    found = [
        row(db, sql, [*values[:before], repository_id, *asked, gone.get(repository_id, 0), kind, *values[before:]])
        for repository_id in choice.repository_ids
    ]
    return max(filter(None, found), key=lambda item: item["place"], default=None)


def _deleted_at(db: Database, repository_id: int, ref: str) -> int:
    """The push that deleted a branch last, 0 for none: a branch that is gone has no state, nor has one from before."""
    sql = (
        "SELECT MAX(id) AS id FROM push WHERE repository_id = ? AND ref = ? AND kind = 'push' AND NOT late"
        " AND again_of IS NULL AND TRIM(after, '0') = ''"
    )
    found = row(db, sql, (repository_id, ref))
    return int(found["id"] or 0) if found else 0


def _of_set(db: Database, push_id: int, table: str, condition: str, values: Sequence[str]) -> list[int]:
    sql = f"SELECT {table}.id FROM push JOIN {table} ON {table}.push_id IN {SAME_SET} WHERE push.id = ? AND {condition}"
    return [found["id"] for found in rows(db, f"{sql} ORDER BY 1", [push_id, *values])]


def _last_tries(found: Sequence[Execution]) -> list[Execution]:
    """Without those that were run again, by whoever did so; they are in the order in which they were made."""
    again = {execution.retry_of for execution in found}
    newest = {execution.pipeline_node_id: execution.id for execution in found if execution.pipeline_node_id}
    return [e for e in found if e.id not in again and e.id == newest.get(e.pipeline_node_id or 0, e.id)]


def _range(prefix: str) -> list[str]:
    """What begins with `prefix` lies from the first of these on and before the second."""
    return [prefix, prefix[:-1] + chr(ord(prefix[-1]) + 1)]
