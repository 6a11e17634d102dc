"""Standalone runs: executions outside tasks and pipelines, tasks outside pipelines, and pipelines.

Repeated pushes, approvals and `cancel_older` compare these by kind and name, and never the executions of a task.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlite_utils import Database

from core.groups import group_status
from core.model import Target, TargetKind
from core.states import UNFINISHED, UNFINISHED_GROUP, State
from web.store.db import Row, rows, sql_list
from web.store.executions import ALONE

MOST = 2**63 - 1  # the largest possible id
COLUMNS = ("id", "counter", "push_id", "state", "stop_requested_at")
# by kind: table, column with the target's name, SQL condition for standalone runs, SQL condition for unfinished runs
KINDS = {
    TargetKind.STEP: ("execution", "step", ALONE, f"execution.state IN {sql_list(UNFINISHED)}"),
    TargetKind.TASK: ("task", "name", "task.pipeline_node_id IS NULL", f"task.state IN {sql_list(UNFINISHED_GROUP)}"),
    TargetKind.PIPELINE: ("pipeline", "name", "1", f"pipeline.state IN {sql_list(UNFINISHED_GROUP)}"),
}


@dataclass(frozen=True, kw_only=True)
class Launched:
    """A standalone execution, task or pipeline. `id` is the row in the table of its kind."""

    target: Target
    id: int
    counter: int
    push_id: int | None
    state: State
    stop_requested_at: str | None

    @property
    def number(self) -> str:
        """The counter with the sign of the kind, such as `#3`, `!3` or `=3`."""
        return f"{self.target.kind.sign}{self.counter}"

    @property
    def status(self) -> str:
        """The state as the API shows it."""
        return group_status(self.state, self.stop_requested_at)


@dataclass(frozen=True, kw_only=True)
class RunCount:
    """How many standalone runs of a target are in a state."""

    target: Target
    state: State
    count: int = 1


def counts_by_pushes(db: Database, push_ids: Sequence[int]) -> dict[int, list[RunCount]]:
    """Count the runs by push id, executions first, each kind by its first run."""
    marks = ", ".join("?" * len(push_ids))
    each = [
        f"SELECT {order} AS kind_order, MIN(id) AS first, push_id, '{kind}' AS kind, {name} AS name, state, COUNT(*) AS n"
        f" FROM {table} WHERE {alone} AND push_id IN ({marks}) GROUP BY push_id, {name}, state"
        for order, (kind, (table, name, alone, _)) in enumerate(KINDS.items())
    ]
    result: dict[int, list[RunCount]] = {push_id: [] for push_id in push_ids}
    for found in rows(db, f"{' UNION ALL '.join(each)} ORDER BY kind_order, first", [*push_ids] * len(each)):
        target = Target(kind=TargetKind(found["kind"]), name=found["name"])
        result[found["push_id"]].append(RunCount(target=target, state=State(found["state"]), count=found["n"]))
    return result


def launched_by_push(db: Database, push_id: int) -> list[Launched]:
    """List the runs of a push: executions, then tasks, then pipelines, each by counter."""
    return launched_by_pushes(db, [push_id])[push_id]


def launched_by_pushes(db: Database, push_ids: Sequence[int]) -> dict[int, list[Launched]]:
    """List the runs by push id, in the same order."""
    result: dict[int, list[Launched]] = {push_id: [] for push_id in push_ids}
    for kind, (table, *_) in KINDS.items():
        of_pushes = f"{table}.push_id IN ({', '.join('?' * len(push_ids))})"
        for found in rows(db, f"{launched_rows(kind)} AND {of_pushes} ORDER BY id", list(push_ids)):
            result[found["push_id"]].append(launched_items(found))
    return result


def unfinished_of_ref(db: Database, repository_id: int, kind: str, ref: str, before: int | None) -> list[Launched]:
    """List unfinished runs without a stop request that events of a kind launched on a ref.

    With `before`, only of pushes before that push.
    """
    of_ref = "push.repository_id = ? AND push.kind = ? AND push.ref = ? AND COALESCE(push.again_of, push.id) < ?"
    found = []
    for of_kind, (table, _, _, unfinished) in KINDS.items():
        # start from unfinished runs and join their push: a busy branch has thousands of pushes
        which = launched_rows(of_kind, f"CROSS JOIN push ON push.id = {table}.push_id")
        sql = f"{which} AND {unfinished} AND {table}.stop_requested_at IS NULL AND {of_ref} ORDER BY {table}.id"
        found += rows(db, sql, (repository_id, kind, ref, MOST if before is None else before))
    return [launched_items(item) for item in found]


def launched_rows(kind: TargetKind, join: str = "", columns: str = "") -> str:
    """Return SQL that selects runs of a kind, to which conditions can be added with AND.

    `columns` are further columns, such as ", push.ref".
    """
    table, name, alone, _ = KINDS[kind]
    own = ", ".join(f"{table}.{column} AS {column}" for column in COLUMNS)
    return f"SELECT '{kind}' AS kind, {table}.{name} AS name, {own}{columns} FROM {table} {join} WHERE {alone}"


def launched_items(found: Row) -> Launched:
    target = Target(kind=TargetKind(found["kind"]), name=found["name"])
    own = {column: found[column] for column in COLUMNS}
    return Launched(target=target, **own | {"state": State(found["state"])})


def by_pushes(db: Database, repository_id: int, commit_id: int, branch: str) -> dict[Target, str]:
    """Map each target to the number of its first run."""
    found = _of_commit(db, repository_id, commit_id, "push.kind = 'push' AND push.ref = ?", f"refs/heads/{branch}")
    return {run.target: run.number for run in map(launched_items, reversed(found))}


def by_pull_requests(db: Database, repository_id: int, commit_id: int, branch: str) -> dict[Target, tuple[str, int]]:
    """Map each target to (number of its first run, number of its pull request); forks do not count."""
    condition = "pull_request.head_branch = ? AND NOT pull_request.from_fork"
    found = _of_commit(db, repository_id, commit_id, condition, branch)
    runs = [(launched_items(item), item["number"]) for item in reversed(found)]
    return {run.target: (run.number, number) for run, number in runs}


WITH_PULL_REQUEST = [
    launched_rows(
        kind,
        "JOIN push ON push.id = push_id LEFT JOIN pull_request ON pull_request.id = push.pull_request_id",
        ", pull_request.number",
    )
    for kind in KINDS
]


def _of_commit(db: Database, repository_id: int, commit_id: int, condition: str, value: str) -> list[Row]:
    """Return the matching runs of a commit, those of each kind by counter."""
    # the + keeps SQLite from using the index on the branch, which has more pushes than the commit
    where = f"push.commit_id = ? AND +push.repository_id = ? AND {condition}"
    each = [f"{runs} AND {where}" for runs in WITH_PULL_REQUEST]
    return rows(db, f"{' UNION ALL '.join(each)} ORDER BY id", (commit_id, repository_id, value) * len(each))
