"""Aliases of data: names within a project, each of which names one file at a time."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from dataclasses import dataclass

from sqlite_utils import Database

from core import clock
from core.errors import NotFound
from web.store.db import execute, fetch_row, fetch_rows
from web.store.selection import make_project_condition


@dataclass(frozen=True, kw_only=True)
class Alias:
    id: int
    uuid: str
    project_id: int
    name: str
    datum_id: int
    created_at: str
    changed_at: str


def set_alias(db: Database, project_id: int, name: str, datum_id: int) -> Alias:
    """Point an alias at a file, creating or replacing the alias."""
    at = clock.now()
    sql = (
        "INSERT INTO datum_alias (uuid, project_id, name, datum_id, created_at, changed_at) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (project_id, name) DO UPDATE SET datum_id = excluded.datum_id, changed_at = excluded.changed_at"
    )
    execute(db, sql, (str(uuid.uuid4()), project_id, name, datum_id, at, at))
    return get_by_name(db, project_id, name)


def get_by_name(db: Database, project_id: int, name: str) -> Alias:
    found = fetch_row(db, "SELECT * FROM datum_alias WHERE project_id = ? AND name = ?", (project_id, name))
    if found is None:
        raise NotFound(f"there is no alias {name[:128]!r} in this project")
    return Alias(**found)


def find_datum_uuid(db: Database, project_id: int, name: str) -> str | None:
    """Return the uuid of the file that an alias names, if there is such an alias."""
    sql = (
        "SELECT datum.uuid FROM datum_alias JOIN datum ON datum.id = datum_id"
        " WHERE datum_alias.project_id = ? AND datum_alias.name = ?"
    )
    found = fetch_row(db, sql, (project_id, name))
    return str(found["uuid"]) if found else None


def search(db: Database, projects: Collection[int] | None, limit: int, offset: int) -> tuple[list[Alias], int]:
    """Return aliases of these projects, or of all, the newest first, and their number without the limit."""
    condition, values = make_project_condition("project_id", projects)
    count = fetch_row(db, f"SELECT COUNT(*) AS n FROM datum_alias WHERE {condition}", values)
    found = fetch_rows(
        db, f"SELECT * FROM datum_alias WHERE {condition} ORDER BY id DESC LIMIT ? OFFSET ?", [*values, limit, offset]
    )
    return [Alias(**item) for item in found], int(count["n"]) if count else 0


def list_names_by_datum(db: Database, datum_ids: list[int]) -> dict[int, list[str]]:
    """Return the aliases of files by datum id, by name; files without one are omitted."""
    marks = ", ".join("?" * len(datum_ids))
    result: dict[int, list[str]] = {}
    for item in fetch_rows(
        db, f"SELECT datum_id, name FROM datum_alias WHERE datum_id IN ({marks}) ORDER BY name", datum_ids
    ):
        result.setdefault(item["datum_id"], []).append(item["name"])
    return result
