"""Common code of tasks, pipelines and their nodes: the only function that changes their state, and stop requests.

A task, pipeline or node is `created` until one of its executions starts, and `started` until all of them have ended.
Only `web.services.tasks` and `web.services.pipelines` change these states.
"""

from __future__ import annotations

from typing import Any, Literal

from sqlite_utils import Database

from core import clock
from core.errors import Conflict
from core.states import FINAL, State
from core.transitions import check_group_transition
from web.store.db import Row, execute, fetch_row, needs_transaction

Table = Literal["task", "pipeline", "pipeline_node"]


@needs_transaction
def transition(db: Database, table: Table, group_id: int, current: State, to: State, message: str = "") -> None:
    """Make a state transition. Nothing else writes these `state`s.

    Raises IllegalTransition if the transition is not allowed, and Conflict if the state is no longer `current`.
    `message` says why it ended, or what it is doing.
    """
    check_group_transition(current, to)
    values: Row = {"state": to, "message": message}
    if to is State.STARTED:
        values["started_at"] = _first_start(db, group_id) if table == "task" else clock.now()
    if to in FINAL:
        values["ended_at"] = clock.now()
    assignments = ", ".join(f"{name} = ?" for name in values)
    sql = f"UPDATE {table} SET {assignments} WHERE id = ? AND state = ?"
    if execute(db, sql, [*values.values(), group_id, current]) != 1:
        raise Conflict(f"{table} {group_id} is no longer {current}")


def _first_start(db: Database, task_id: int) -> str:
    """Return when a task's first execution started: with the later time of the sweep, durations were too short."""
    found = fetch_row(db, "SELECT MIN(started_at) AS first FROM execution WHERE task_id = ?", (task_id,))
    return (found["first"] if found else None) or clock.now()


@needs_transaction
def update(db: Database, /, table: Table, group_id: int, **columns: Any) -> bool:
    """Set columns other than the state; return False if the state is final."""
    assignments = ", ".join(f"{name} = ?" for name in columns)
    sql = f"UPDATE {table} SET {assignments} WHERE id = ? AND ended_at IS NULL"
    return execute(db, sql, [*columns.values(), group_id]) == 1


@needs_transaction
def request_stop(db: Database, table: Literal["task", "pipeline"], group_id: int, who: str) -> bool:
    """Record a stop request; return False if it has ended or a stop is already requested.

    Reconciling stops its executions.
    """
    sql = (
        f"UPDATE {table} SET stop_requested_at = ?, stopped_by = ? WHERE id = ? AND ended_at IS NULL"
        " AND stop_requested_at IS NULL"
    )
    return execute(db, sql, (clock.now(), who, group_id)) == 1
