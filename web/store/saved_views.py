"""Saved views of a project's executions: names of filters, orders and columns, shared by its members."""

from __future__ import annotations

from dataclasses import dataclass

from sqlite_utils import Database

from core.errors import Conflict
from web.store import audit
from web.store.audit import Act, Kind
from web.store.db import execute, fetch_row, fetch_rows, needs_transaction

MOST = 50  # most views of a project


@dataclass(frozen=True, kw_only=True)
class SavedView:
    """A view; `query` is the query of the page's address."""

    id: int
    name: str
    query: str


def list_saved_views(db: Database, project_id: int) -> list[SavedView]:
    sql = "SELECT id, name, query FROM saved_view WHERE project_id = ? ORDER BY name COLLATE NOCASE, id"
    return [SavedView(**found) for found in fetch_rows(db, sql, (project_id,))]


@needs_transaction
def save(db: Database, project_id: int, name: str, query: str) -> None:
    """Save a view, replacing the one of this name. Raises Conflict if there are too many."""
    sql = "SELECT COUNT(*) AS n FROM saved_view WHERE project_id = ? AND name != ?"
    others = fetch_row(db, sql, (project_id, name))
    if others and others["n"] >= MOST:
        raise Conflict(f"a project has at most {MOST} saved views: remove one first")
    sql = (
        "INSERT INTO saved_view (project_id, name, query) VALUES (?, ?, ?)"
        " ON CONFLICT (project_id, name) DO UPDATE SET query = excluded.query"
    )
    execute(db, sql, (project_id, name, query))
    audit.record(db, Act.CHANGE, Kind.SETTINGS, "saved views", project_id, name)


@needs_transaction
def remove(db: Database, project_id: int, name: str) -> None:
    execute(db, "DELETE FROM saved_view WHERE project_id = ? AND name = ?", (project_id, name))
    audit.record(db, Act.REMOVE, Kind.SETTINGS, "saved views", project_id, name)
