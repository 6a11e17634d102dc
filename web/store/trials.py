"""Trials of tasks and their results. Only the newest execution of each trial counts, on pages and for decisions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlite_utils import Database

from core.states import State
from web.store.db import Row, fetch_rows

COUNTED = (State.COMPLETE, State.STOPPED)  # may be the best: a stop condition stops good executions
SAMPLE = 20  # executions whose keys stand for the keys of all executions
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


def count_by_state(db: Database, task_ids: Sequence[int]) -> dict[int, dict[str, int]]:
    """Map each task id to its number of executions by state."""
    newest = NEWEST.format(", ".join("?" * len(task_ids)))
    sql = f"SELECT task_id, state, COUNT(*) AS n FROM execution WHERE id IN ({newest}) GROUP BY task_id, state"
    result: dict[int, dict[str, int]] = {task_id: {} for task_id in task_ids}
    for found in fetch_rows(db, sql, list(task_ids)):
        result[found["task_id"]][found["state"]] = found["n"]
    return result


def list_keys_by_task(db: Database, task_ids: Sequence[int]) -> dict[int, list[str]]:
    """List by task id the metadata keys with numbers, in the order in which keys were first stored."""
    some = "SELECT id FROM execution WHERE task_id = task.id AND metadata_seq > 0 ORDER BY id LIMIT ?"
    sql = (
        "SELECT DISTINCT task.id AS task_id, key_id, metadata_key.name FROM task CROSS JOIN latest ON number IS NOT NULL"
        f" AND execution_id IN ({some}) JOIN metadata_key ON metadata_key.id = key_id"
        f" WHERE task.id IN ({', '.join('?' * len(task_ids))}) ORDER BY key_id"
    )
    result: dict[int, list[str]] = {task_id: [] for task_id in task_ids}
    for found in fetch_rows(db, sql, [SAMPLE, *task_ids]):
        result[found["task_id"]].append(found["name"])
    return result


def list_for_task(db: Database, task_id: int, key: str) -> list[Trial]:
    """List the trials of a task in the order of the search, with their latest number of `key`."""
    found = fetch_rows(db, f"{SELECT} WHERE execution.id IN ({NEWEST.format('?')}) ORDER BY trial", (key, task_id))
    return [_trial(item) for item in found]


def map_best_by_task(db: Database, wanted: Mapping[int, tuple[str, float | None, bool]]) -> dict[int, Trial]:
    """Return by task id its best trial in a state of COUNTED, if there is one.

    `wanted` is (key, target, less) by task id. The best is the one nearest to `target`; without a target, the lowest if
    `less`, else the highest; the first of equals.
    """
    if not wanted:
        return {}
    cost = "CASE WHEN target IS NOT NULL THEN ABS(number - target) WHEN less THEN number ELSE -number END"
    columns = "execution.id AS execution_id, counter, trial, state, parameters, number"
    sql = (
        f"WITH wanted (task, key, target, less) AS (VALUES {', '.join(['(?, ?, ?, ?)'] * len(wanted))})"
        f" SELECT * FROM (SELECT task, {columns},"
        f" ROW_NUMBER() OVER (PARTITION BY task ORDER BY {cost}, trial) AS place FROM wanted"
        " JOIN metadata_key ON name = key CROSS JOIN execution ON execution.task_id = task"
        " JOIN latest ON latest.execution_id = execution.id AND latest.key_id = metadata_key.id"
        f" WHERE execution.id IN ({NEWEST.format(', '.join('?' * len(wanted)))})"
        " AND state IN (?, ?) AND number IS NOT NULL) WHERE place = 1"
    )
    values = [value for task_id, how in wanted.items() for value in (task_id, *how)]
    found = fetch_rows(db, sql, [*values, *wanted, *COUNTED])
    return {item["task"]: _trial({name: item[name] for name in Trial.__slots__}) for item in found}


def _trial(found: Row) -> Trial:
    return Trial(**found | {"state": State(found["state"]), "parameters": json.loads(found["parameters"])})
