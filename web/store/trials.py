"""Trials of tasks and their results. Only the newest execution of each trial counts, on pages and for decisions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlite_utils import Database

from core.states import State
from web.store.db import Row, row, rows

COUNTED = (State.COMPLETE, State.STOPPED)  # may be the best: a stop condition stops good executions
SAMPLE = 20  # executions whose keys represent those of all
NEWEST = "SELECT MAX(id) FROM execution WHERE task_id IN ({}) GROUP BY task_id, trial"

SELECT = (
    "SELECT execution.id AS execution_id, counter, trial, state, parameters, latest.number FROM execution"
    " LEFT JOIN latest ON latest.execution_id = execution.id"
    " AND latest.key_id = (SELECT id FROM metadata_key WHERE name = ?)"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """A trial of a search; `trial` counts from 0, `number` is the latest number of the requested key."""

    execution_id: int
    counter: int
    trial: int
    state: State
    parameters: Mapping[str, Any]
    number: float | None


def counts(db: Database, task_ids: Sequence[int]) -> dict[int, dict[str, int]]:
    """Map each task id to its number of executions by state."""
    newest = NEWEST.format(", ".join("?" * len(task_ids)))
    sql = f"SELECT task_id, state, COUNT(*) AS n FROM execution WHERE id IN ({newest}) GROUP BY task_id, state"
    result: dict[int, dict[str, int]] = {task_id: {} for task_id in task_ids}
    for found in rows(db, sql, list(task_ids)):
        result[found["task_id"]][found["state"]] = found["n"]
    return result


def keys(db: Database, task_id: int) -> list[str]:
    """List the metadata keys with numbers, in the order in which keys were first stored by any execution."""
    some = "SELECT id FROM execution WHERE task_id = ? AND metadata_seq > 0 ORDER BY id LIMIT ?"
    sql = (
        "SELECT name FROM metadata_key WHERE id IN (SELECT key_id FROM latest WHERE number IS NOT NULL"
        f" AND execution_id IN ({some})) ORDER BY id"
    )
    return [found["name"] for found in rows(db, sql, (task_id, SAMPLE))]


def trials_of_task(db: Database, task_id: int, key: str) -> list[Trial]:
    """List the trials of a task in the order of the search, with their latest number of `key`."""
    found = rows(db, f"{SELECT} WHERE execution.id IN ({NEWEST.format('?')}) ORDER BY trial", (key, task_id))
    return [_trial(item) for item in found]


def best_trials(db: Database, task_id: int, key: str, *, target: float | None, less: bool) -> Trial | None:
    """Return the best trial in a state of COUNTED.

    This is the one nearest to `target`; without a target, the lowest if `less`, else the highest.
    """
    order, values = ("ABS(number - ?)", [target]) if target is not None else ("number" if less else "-number", [])
    sql = (
        f"{SELECT} WHERE execution.id IN ({NEWEST.format('?')}) AND state IN (?, ?) AND number IS NOT NULL"
        f" ORDER BY {order}, trial LIMIT 1"
    )
    found = row(db, sql, (key, task_id, *COUNTED, *values))
    return _trial(found) if found else None


def _trial(found: Row) -> Trial:
    return Trial(**found | {"state": State(found["state"]), "parameters": json.loads(found["parameters"])})
