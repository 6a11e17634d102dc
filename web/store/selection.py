"""Lists of executions, tasks and pipelines by filters."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlite_utils import Database

from web.store.db import Row, fetch_row, fetch_rows


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What to list: everything that matches each given filter.

    `projects` are ids, None for all projects. `deleted` is for executions: whether they are deleted, None for both.
    `statuses` are states, `stopping` and `incomplete`. `order` is SQL from the caller, never user input.
    """

    projects: Collection[int] | None = None
    statuses: Sequence[str] = ()
    counters: Sequence[int] = ()
    creator_id: int | None = None
    deleted: bool | None = False
    order: str = "counter DESC"
    limit: int = 100
    offset: int = 0


def make_project_condition(column: str, projects: Collection[int] | None) -> tuple[str, list[int]]:
    """Return the SQL condition for rows of these projects, or of all, and its values."""
    return ("1", []) if projects is None else (f"{column} IN ({', '.join('?' * len(projects))})", list(projects))


def select(
    db: Database,
    table: Literal["execution", "task", "pipeline"],
    sql: str,
    wanted: Selection,
    status_condition: Callable[[str], str],
) -> tuple[list[Row], int]:
    """Return the rows of the wanted page, and the number of all matches. `status_condition` is SQL for a status."""
    condition, of_projects = make_project_condition(f"{table}.project_id", wanted.projects)
    conditions, values = [condition], list[Any](of_projects)
    if wanted.creator_id is not None:
        conditions.append(f"{table}.creator_id = ?")
        values.append(wanted.creator_id)
    if table == "execution" and wanted.deleted is not None:
        conditions.append(f"execution.deleted_at IS {'NOT ' if wanted.deleted else ''}NULL")
    if wanted.counters:
        conditions.append(f"{table}.counter IN ({', '.join('?' * len(wanted.counters))})")
        values += wanted.counters
    if wanted.statuses:
        conditions.append(f"({' OR '.join(map(status_condition, wanted.statuses))})")
    where = f"WHERE {' AND '.join(conditions)}"
    count = fetch_row(db, f"SELECT COUNT(*) AS n FROM {table} {where}", values)
    sql += f" {where} ORDER BY {table}.{wanted.order} LIMIT ? OFFSET ?"
    return fetch_rows(db, sql, [*values, wanted.limit, wanted.offset]), int(count["n"]) if count else 0
