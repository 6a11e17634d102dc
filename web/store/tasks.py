"""Tasks and their executions."""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlite_utils import Database

from core import clock
from core.errors import NotFound
from core.groups import Task
from core.model import Execution
from core.states import UNFINISHED, UNFINISHED_GROUP, WAITING, State
from web.store import executions, groups
from web.store.db import Row, insert, needs_transaction, row, rows, sql_list
from web.store.projects import take_counter

JSON_COLUMNS = ("config", "parameters", "inputs", "environment_variables")
SELECT = (
    "SELECT task.*, git_commit.identifier AS commit_identifier, user.username AS creator FROM task"
    " JOIN git_commit ON git_commit.id = task.commit_id JOIN user ON user.id = task.creator_id"
)
IS_UNFINISHED = f"task.state IN {sql_list(UNFINISHED_GROUP)}"
PLACES = (
    "SELECT task_id, trial, MAX(id) AS id, state, stop_requested_at IS NOT NULL AS asked,"
    f" {executions.RESTARTS} AS lost FROM execution"  # lost ones are restarted by the sweep, so they have not ended
)
STOPPABLE = f"state IN {sql_list(UNFINISHED)} AND NOT asked"


@needs_transaction
def add(db: Database, values: Mapping[str, Any]) -> Task:
    """Create a task in `created` with the next counter of its project.

    `values` are columns; JSON columns are given as Python values.
    """
    encoded = {key: json.dumps(value) if key in JSON_COLUMNS else value for key, value in values.items()}
    counter = take_counter(db, values["project_id"], "task")
    own = {"uuid": str(uuid.uuid4()), "counter": counter, "state": State.CREATED, "created_at": clock.now()}
    return get(db, insert(db, "task", encoded | own))


def get(db: Database, task_id: int) -> Task:
    return _one(row(db, f"{SELECT} WHERE task.id = ?", (task_id,)), task_id)


def by_uuid(db: Database, task_uuid: str) -> Task:
    return _one(row(db, f"{SELECT} WHERE task.uuid = ?", (task_uuid,)), task_uuid)


def by_counter(db: Database, project_id: int, counter: int) -> Task:
    sql = f"{SELECT} WHERE task.project_id = ? AND task.counter = ?"
    return _one(row(db, sql, (project_id, counter)), f"!{counter}")


def newest(db: Database, project_id: int) -> Task:
    sql = f"{SELECT} WHERE task.project_id = ? ORDER BY task.counter DESC LIMIT 1"
    return _one(row(db, sql, (project_id,)), "latest")


def of_ids(db: Database, task_ids: Sequence[int]) -> list[Task]:
    """Return tasks in the order of the given ids."""
    marks = ", ".join("?" * len(task_ids))
    found = {item["id"]: item for item in rows(db, f"{SELECT} WHERE task.id IN ({marks})", list(task_ids))}
    return [_task(found[task_id]) for task_id in task_ids if task_id in found]


def names(db: Database, task_ids: Collection[int]) -> dict[int, tuple[str, int]]:
    """Return (uuid, counter) by task id."""
    marks = ", ".join("?" * len(task_ids))
    found = rows(db, f"SELECT id, uuid, counter FROM task WHERE id IN ({marks})", list(task_ids))
    return {item["id"]: (item["uuid"], item["counter"]) for item in found}


def of_commit(db: Database, commit_id: int) -> list[Task]:
    """List the tasks of a commit by counter, including those in pipelines."""
    return [_task(found) for found in rows(db, f"{SELECT} WHERE task.commit_id = ? ORDER BY task.id", (commit_id,))]


def unfinished(db: Database) -> list[Task]:
    """List unfinished tasks, oldest first."""
    return [_task(found) for found in rows(db, f"{SELECT} WHERE {IS_UNFINISHED} ORDER BY task.id")]


def search(
    db: Database,
    project_id: int | None,
    *,
    statuses: Sequence[str] = (),
    counters: Sequence[int] = (),
    creator_id: int | None = None,
    order: str = "counter DESC",
    limit: int = 100,
    offset: int = 0,
) -> tuple[list[Task], int]:
    """Return tasks that match every given filter, and their number without the limit.

    `statuses` are states, `stopping` and `incomplete`. `order` is SQL from the caller, never user input.
    """
    where, values = groups.where("task", project_id, statuses, counters, creator_id)
    count = row(db, f"SELECT COUNT(*) AS n FROM task {where}", values)
    sql = f"{SELECT} {where} ORDER BY task.{order} LIMIT ? OFFSET ?"
    found = rows(db, sql, [*values, limit, offset])
    return [_task(item) for item in found], int(count["n"]) if count else 0


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


def tallies(db: Database, task_id: int | None = None) -> dict[int, Tally]:
    """Return tallies by task id, of unfinished tasks with executions or of one task."""
    tasks = f"SELECT id FROM task WHERE {IS_UNFINISHED}" if task_id is None else str(int(task_id))
    sql = (
        f"SELECT task_id, COUNT(*) AS made, SUM(state NOT IN {sql_list(WAITING)}) AS begun,"
        f" SUM(lost OR state IN {sql_list(UNFINISHED)}) AS unfinished,"
        f" SUM({STOPPABLE}) AS stoppable, SUM(state = 'complete') AS complete,"
        " SUM(state = 'error' AND NOT lost) AS failed, SUM(state = 'stopped') AS stopped"
        f" FROM ({PLACES} WHERE task_id IN ({tasks}) GROUP BY task_id, trial) GROUP BY task_id"
    )
    return {found.pop("task_id"): Tally(**found) for found in rows(db, sql)}


def stoppable(db: Database, task_id: int, limit: int) -> list[Execution]:
    """List up to `limit` unfinished executions without a stop request, in the order of the search."""
    sql = f"SELECT id FROM ({PLACES} WHERE task_id = ? GROUP BY trial) WHERE {STOPPABLE} ORDER BY trial LIMIT ?"
    return executions.of_ids(db, [found["id"] for found in rows(db, sql, (task_id, limit))])


def first_failure(db: Database, task_id: int) -> Execution | None:
    """Return the first failed execution in the order of the search that is not restarted automatically."""
    sql = (
        f"SELECT id FROM ({PLACES} WHERE task_id = ? GROUP BY trial) WHERE state = 'error' AND NOT lost"
        " ORDER BY trial LIMIT 1"
    )
    found = row(db, sql, (task_id,))
    return executions.get(db, found["id"]) if found else None


def trials(db: Database, task_id: int) -> list[Execution]:
    """List the newest execution of each trial, in the order of the search."""
    sql = "SELECT MAX(id) AS id FROM execution WHERE task_id = ? GROUP BY trial ORDER BY trial"
    return executions.of_ids(db, [found["id"] for found in rows(db, sql, (task_id,))])


def _one(found: Row | None, asked: object) -> Task:
    if found is None:
        raise NotFound(f"there is no task {asked}")
    return _task(found)


def _task(found: Row) -> Task:
    values = {name: found[name] for name in Task.__dataclass_fields__}
    values |= {name: json.loads(found[name]) for name in JSON_COLUMNS}
    ending = State(found["ending"]) if found["ending"] else None
    return Task(**values | {"state": State(found["state"]), "ending": ending})
