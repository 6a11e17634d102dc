"""Orders of tables of executions; the table of a task's executions; and the newest executions of several owners.

`execution_search` has the table of a project's executions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from sqlite_utils import Database

from core.model import Execution
from web.store import executions, trials
from web.store.db import fetch_row, fetch_rows

COLUMNS = {
    "number": "execution.counter",
    "trial": "execution.trial",
    "step": "execution.step",
    "state": "execution.state",
    "created": "execution.created_at",
    "duration": "julianday(COALESCE(execution.ended_at, 'now')) - julianday(execution.started_at)",
}


# Evaluated for each execution; used only for the executions of a task, which are few.
PARAMETER = "(SELECT value FROM json_each(execution.parameters) WHERE key = ?)"
LATEST = (
    "(SELECT number FROM latest WHERE execution_id = execution.id"
    " AND key_id = (SELECT id FROM metadata_key WHERE name = ?))"
)


class By(Enum):
    """The kind of name in `SortOrder.by`."""

    COLUMN = "column"  # one of COLUMNS
    KEY = "key"  # a metadata key: its latest number
    BEST = "best"
    LOW = "low"
    HIGH = "high"
    PARAMETER = "parameter"


OF_KEY = frozenset({By.KEY, By.BEST, By.LOW, By.HIGH})  # kinds whose name is a metadata key


@dataclass(frozen=True, kw_only=True)
class SortOrder:
    """Sort order. Executions without a value come last. A metadata key is sorted by the column `number` of `latest`."""

    by: str
    kind: By = By.COLUMN
    descending: bool = True
    number: str = "number"


@dataclass(frozen=True, kw_only=True)
class TrialFilter:
    """Filter of a task's executions. `status` is a state or `stopping`; None means any."""

    task_id: int
    status: str | None = None


def get_page(
    db: Database, wanted: TrialFilter, order: SortOrder, limit: int, offset: int
) -> tuple[list[Execution], int]:
    """Return the newest execution of each trial in order, and their number without the limit."""
    direction = "DESC" if order.descending else "ASC"
    by = {By.COLUMN: COLUMNS.get(order.by, ""), By.KEY: LATEST, By.PARAMETER: PARAMETER}[order.kind]
    named = [order.by] * by.count("?") * 2
    where, values = _where(wanted)
    sql = f"SELECT id FROM execution {where} ORDER BY {by} IS NULL, {by} {direction}, counter DESC LIMIT ? OFFSET ?"
    if order.by == "number" and order.kind is By.COLUMN:
        sql = f"SELECT id FROM execution {where} ORDER BY counter {direction} LIMIT ? OFFSET ?"
    ids = [found["id"] for found in fetch_rows(db, sql, [*values, *named, limit, offset])]
    return executions.get_many(db, ids), _count(db, f"FROM execution {where}", values)


def list_steps(db: Database, project_id: int) -> list[str]:
    """List the names of steps with executions in a project."""
    found = fetch_rows(db, "SELECT DISTINCT step FROM execution WHERE project_id = ? ORDER BY step", (project_id,))
    return [item["step"] for item in found]


def list_newest_by_commit(db: Database, commit_ids: Sequence[int], many: int) -> dict[int, list[Execution]]:
    """List by commit id its newest standalone executions, at most `many`, the newest last."""
    return _newest_of(db, "commit_id", commit_ids, many, f"{executions.ALONE} AND {executions.KEPT}")


def list_newest_by_project(db: Database, project_ids: Sequence[int], many: int) -> dict[int, list[Execution]]:
    """List by project id its newest executions, at most `many`, the newest last."""
    return _newest_of(db, "project_id", project_ids, many, executions.KEPT)


def _newest_of(
    db: Database, column: str, owners: Sequence[int], many: int, condition: str
) -> dict[int, list[Execution]]:
    sql = (
        f"WITH owner (of) AS (VALUES {', '.join(['(?)'] * len(owners))}) SELECT id FROM owner CROSS JOIN execution ON id IN"
        f" (SELECT id FROM execution WHERE {column} = of AND {condition} ORDER BY counter DESC LIMIT ?) ORDER BY id"
    )
    result: dict[int, list[Execution]] = {owner: [] for owner in owners}
    for execution in executions.get_many(db, _ids(db, sql, [*owners, many]) if owners else []):
        result[getattr(execution, column)].append(execution)
    return result


def _where(wanted: TrialFilter) -> tuple[str, list[object]]:
    conditions = [f"execution.id IN ({trials.NEWEST.format('?')})", executions.KEPT]
    if wanted.status is not None:
        conditions.append(executions.make_status_condition(wanted.status))
    return f"WHERE {' AND '.join(conditions)}", [wanted.task_id]


def _ids(db: Database, sql: str, values: Sequence[object]) -> list[int]:
    return [found["id"] for found in fetch_rows(db, sql, values)]


def _count(db: Database, source: str, values: Sequence[object]) -> int:
    found = fetch_row(db, f"SELECT COUNT(*) AS n {source}", values)
    return int(found["n"]) if found else 0
