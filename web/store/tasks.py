"""Tasks and their executions."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sqlite_utils import Database

from core.groups import Task
from core.model import Execution
from core.states import UNFINISHED, UNFINISHED_GROUP, WAITING, State
from web.store import executions
from web.store.db import fetch_row, fetch_rows, make_sql_list
from web.store.group_table import GroupTable

IS_UNFINISHED = f"task.state IN {make_sql_list(UNFINISHED_GROUP)}"
PLACES = (
    "SELECT task_id, trial, MAX(id) AS id, state, stop_requested_at IS NOT NULL AS asked,"
    f" {executions.RESTARTS} AS lost FROM execution"  # lost ones are restarted by the sweep, so they have not ended
)
STOPPABLE = f"state IN {make_sql_list(UNFINISHED)} AND NOT asked"


_table = GroupTable(Task, "task", "!")
get, get_many, get_newest = _table.get, _table.get_many, _table.get_newest
get_by_uuid, get_by_counter = _table.get_by_uuid, _table.get_by_counter
list_for_commits, list_unfinished, search = _table.list_for_commits, _table.list_unfinished, _table.search


def add(db: Database, values: Mapping[str, Any]) -> Task:
    """Create a task in `created` with the next counter of its project. `values` are columns, not encoded."""
    return get(db, _table.insert(db, values))


def map_names(db: Database, task_ids: Collection[int]) -> dict[int, tuple[str, int]]:
    """Return (uuid, counter) by task id."""
    marks = ", ".join("?" * len(task_ids))
    found = fetch_rows(db, f"SELECT id, uuid, counter FROM task WHERE id IN ({marks})", list(task_ids))
    return {item["id"]: (item["uuid"], item["counter"]) for item in found}


@dataclass(frozen=True, kw_only=True, slots=True)
class Tally:
    """Counts of a task's executions; only the newest of each trial counts.

    `made` is the number of trials with an execution, `begun` that of started or ended executions, `stoppable` that of
    unfinished executions without a stop request.
    """

    made: int = 0
    begun: int = 0
    unfinished: int = 0
    stoppable: int = 0
    complete: int = 0
    failed: int = 0
    stopped: int = 0


def map_tallies(db: Database, task_id: int | None = None) -> dict[int, Tally]:
    """Return tallies by task id, of unfinished tasks with executions or of one task."""
    tasks = f"SELECT id FROM task WHERE {IS_UNFINISHED}" if task_id is None else str(int(task_id))
    sql = (
        f"SELECT task_id, COUNT(*) AS made, SUM(state NOT IN {make_sql_list(WAITING)}) AS begun,"
        f" SUM(lost OR state IN {make_sql_list(UNFINISHED)}) AS unfinished,"
        f" SUM({STOPPABLE}) AS stoppable, SUM(state = '{State.COMPLETE}') AS complete,"
        f" SUM(state = '{State.ERROR}' AND NOT lost) AS failed, SUM(state = '{State.STOPPED}') AS stopped"
        f" FROM ({PLACES} WHERE task_id IN ({tasks}) GROUP BY task_id, trial) GROUP BY task_id"
    )
    return {found.pop("task_id"): Tally(**found) for found in fetch_rows(db, sql)}


def list_stoppable(db: Database, task_id: int, limit: int) -> list[Execution]:
    """List up to `limit` unfinished executions without a stop request, in the order of the search."""
    sql = f"SELECT id FROM ({PLACES} WHERE task_id = ? GROUP BY trial) WHERE {STOPPABLE} ORDER BY trial LIMIT ?"
    return executions.get_many(db, [found["id"] for found in fetch_rows(db, sql, (task_id, limit))])


def find_first_failure(db: Database, task_id: int) -> Execution | None:
    """Return the first failed execution in the order of the search that is not restarted automatically."""
    sql = (
        f"SELECT id FROM ({PLACES} WHERE task_id = ? GROUP BY trial) WHERE state = '{State.ERROR}' AND NOT lost"
        " ORDER BY trial LIMIT 1"
    )
    found = fetch_row(db, sql, (task_id,))
    return executions.get(db, found["id"]) if found else None


def list_trials(db: Database, task_id: int) -> list[Execution]:
    """List the newest execution of each trial, in the order of the search."""
    sql = "SELECT MAX(id) AS id FROM execution WHERE task_id = ? GROUP BY trial ORDER BY trial"
    return executions.get_many(db, [found["id"] for found in fetch_rows(db, sql, (task_id,))])
