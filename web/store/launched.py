"""What runs in its own right: executions that belong to nothing larger, tasks of no pipeline, and pipelines.

Repeated pushes, approvals and `cancel_older` compare these by kind and name, and never the executions of a task.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlite_utils import Database

from core.groups import group_status
from core.model import Target, TargetKind
from core.states import State
from web.store.db import Row, rows
from web.store.executions import ALONE

MOST = 2**63 - 1  # the largest id that there can be
COLUMNS = ("id", "counter", "push_id", "state", "stop_requested_at")
# of each kind: its table, the column that names the target, what says that it belongs to nothing larger, and that it has not ended
KINDS = {
    TargetKind.STEP: ("execution", "step", ALONE, "execution.state IN ('created', 'queued', 'started')"),
    TargetKind.TASK: ("task", "name", "task.pipeline_node_id IS NULL", "task.state IN ('created', 'started')"),
    TargetKind.PIPELINE: ("pipeline", "name", "1", "pipeline.state IN ('created', 'started')"),
}


@dataclass(frozen=True, kw_only=True)
class Launched:
    """An execution, a task or a pipeline, by what it runs. `id` is the row in the table of its kind."""

    target: Target
    id: int
    counter: int
    push_id: int | None
    state: State
    stop_requested_at: str | None

    @property
    def number(self) -> str:
        """Such as `#3`, `!3` or `=3`."""
        return f"{self.target.kind.sign}{self.counter}"

    @property
    def status(self) -> str:
        """The state as the API shows it."""
        return group_status(self.state, self.stop_requested_at)


def of_push(db: Database, push_id: int) -> list[Launched]:
    """Executions, then tasks, then pipelines, each in the order of their numbers."""
    found = [rows(db, f"{select(kind)} AND {KINDS[kind][0]}.push_id = ? ORDER BY id", (push_id,)) for kind in KINDS]
    return [launched(item) for items in found for item in items]


def unfinished_of_ref(db: Database, repository_id: int, kind: str, ref: str, before: int | None) -> list[Launched]:
    """What events of a kind made on a ref, and has not ended nor was asked to; of pushes before the push `before`, or all."""
    of_ref = "push.repository_id = ? AND push.kind = ? AND push.ref = ? AND COALESCE(push.again_of, push.id) < ?"
    found = []
    for of_kind, (table, _, _, unfinished) in KINDS.items():
        # from what is unfinished to its push: a busy branch has thousands of pushes
        which = select(of_kind, f"CROSS JOIN push ON push.id = {table}.push_id")
        sql = f"{which} AND {unfinished} AND {table}.stop_requested_at IS NULL AND {of_ref} ORDER BY {table}.id"
        found += rows(db, sql, (repository_id, kind, ref, MOST if before is None else before))
    return [launched(item) for item in found]


def select(kind: TargetKind, join: str = "", columns: str = "") -> str:
    """SQL for what is of a kind, up to its first condition; `columns` are further ones, such as ", push.ref"."""
    table, name, alone, _ = KINDS[kind]
    own = ", ".join(f"{table}.{column}" for column in COLUMNS)
    return f"SELECT '{kind}' AS kind, {table}.{name} AS name, {own}{columns} FROM {table} {join} WHERE {alone}"


def launched(found: Row) -> Launched:
    target = Target(kind=TargetKind(found["kind"]), name=found["name"])
    own = {column: found[column] for column in COLUMNS}
    return Launched(target=target, **own | {"state": State(found["state"])})
