"""Standalone runs: executions outside tasks and pipelines, tasks outside pipelines, and pipelines.

Repeated pushes, approvals and `cancel_older` compare these by kind and name, and never the executions of a task.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlite_utils import Database

from core.groups import compute_group_status
from core.model import Target, TargetKind
from core.states import UNFINISHED, UNFINISHED_GROUP, State
from web.store.db import Row, fetch_rows, make_sql_list
from web.store.executions import ALONE

MOST = 2**63 - 1  # the largest possible id
COLUMNS = ("id", "counter", "push_id", "state", "stop_requested_at")
# by kind: table, column with the target's name, SQL condition for standalone runs, SQL condition for unfinished runs
KINDS = {
    TargetKind.STEP: ("execution", "step", ALONE, f"execution.state IN {make_sql_list(UNFINISHED)}"),
    TargetKind.TASK: (
        "task",
        "name",
        "task.pipeline_node_id IS NULL",
        f"task.state IN {make_sql_list(UNFINISHED_GROUP)}",
    ),
    TargetKind.PIPELINE: ("pipeline", "name", "1", f"pipeline.state IN {make_sql_list(UNFINISHED_GROUP)}"),
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
        return compute_group_status(self.state, self.stop_requested_at)


@dataclass(frozen=True, kw_only=True)
class RunCount:
    """How many standalone runs of a target are in a state."""

    target: Target
    state: State
    count: int = 1


def count_by_push(db: Database, push_ids: Sequence[int]) -> dict[int, list[RunCount]]:
    """Count the runs by push id, executions first, each kind by its first run."""
    marks = ", ".join("?" * len(push_ids))
    each = [
        f"SELECT {order} AS kind_order, MIN(id) AS first, push_id, '{kind}' AS kind, {name} AS name, state, COUNT(*) AS n"
        f" FROM {table} WHERE {alone} AND push_id IN ({marks}) GROUP BY push_id, {name}, state"
        for order, (kind, (table, name, alone, _)) in enumerate(KINDS.items())
    ]
    result: dict[int, list[RunCount]] = {push_id: [] for push_id in push_ids}
    for found in fetch_rows(db, f"{' UNION ALL '.join(each)} ORDER BY kind_order, first", [*push_ids] * len(each)):
        target = Target(kind=TargetKind(found["kind"]), name=found["name"])
        result[found["push_id"]].append(RunCount(target=target, state=State(found["state"]), count=found["n"]))
    return result


def list_for_push(db: Database, push_id: int) -> list[Launched]:
    """List the runs of a push: executions, then tasks, then pipelines, each by counter."""
    return list_by_push(db, [push_id])[push_id]


def list_by_push(db: Database, push_ids: Sequence[int]) -> dict[int, list[Launched]]:
    """List the runs by push id, in the same order."""
    result: dict[int, list[Launched]] = {push_id: [] for push_id in push_ids}
    for kind, (table, *_) in KINDS.items():
        of_pushes = f"{table}.push_id IN ({', '.join('?' * len(push_ids))})"
        for found in fetch_rows(db, f"{make_select(kind)} AND {of_pushes} ORDER BY id", list(push_ids)):
            result[found["push_id"]].append(make_launched(found))
    return result


def list_unfinished_for_ref(
    db: Database, repository_id: int, kind: str, ref: str, before: int | None
) -> list[Launched]:
    """List unfinished runs without a stop request that events of a kind launched on a ref.

    With `before`, only of pushes before that push.
    """
    of_ref = "push.repository_id = ? AND push.kind = ? AND push.ref = ? AND COALESCE(push.again_of, push.id) < ?"
    found = []
    for of_kind, (table, _, _, unfinished) in KINDS.items():
        # start from unfinished runs and join their push: a busy branch has thousands of pushes
        which = make_select(of_kind, f"CROSS JOIN push ON push.id = {table}.push_id")
        sql = f"{which} AND {unfinished} AND {table}.stop_requested_at IS NULL AND {of_ref} ORDER BY {table}.id"
        found += fetch_rows(db, sql, (repository_id, kind, ref, MOST if before is None else before))
    return [make_launched(item) for item in found]


def make_select(kind: TargetKind, join: str = "", columns: str = "") -> str:
    """Return SQL that selects runs of a kind, to which conditions can be added with AND.

    `columns` are further columns, such as ", push.ref".
    """
    table, name, alone, _ = KINDS[kind]
    own = ", ".join(f"{table}.{column} AS {column}" for column in COLUMNS)
    return f"SELECT '{kind}' AS kind, {table}.{name} AS name, {own}{columns} FROM {table} {join} WHERE {alone}"


def make_launched(found: Row) -> Launched:
    target = Target(kind=TargetKind(found["kind"]), name=found["name"])
    own = {column: found[column] for column in COLUMNS}
    return Launched(target=target, **own | {"state": State(found["state"])})


def map_push_runs(db: Database, repository_id: int, commit_id: int, branch: str) -> dict[Target, str]:
    """Map each target to the number of its first run."""
    found = _of_commit(db, repository_id, commit_id, "push.kind = 'push' AND push.ref = ?", f"refs/heads/{branch}")
    return {run.target: run.number for run in map(make_launched, reversed(found))}


def map_pull_request_runs(
    db: Database, repository_id: int, commit_id: int, branch: str
) -> dict[Target, tuple[str, int]]:
    """Map each target to (number of its first run, number of its pull request); forks do not count."""
    condition = "pull_request.head_branch = ? AND NOT pull_request.from_fork"
    found = _of_commit(db, repository_id, commit_id, condition, branch)
    runs = [(make_launched(item), item["number"]) for item in reversed(found)]
    return {run.target: (run.number, number) for run, number in runs}


WITH_PULL_REQUEST = [
    make_select(
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
    return fetch_rows(db, f"{' UNION ALL '.join(each)} ORDER BY id", (commit_id, repository_id, value) * len(each))
