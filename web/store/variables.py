"""Environment variables of projects. Values are encrypted: only `web.services.executions.variables` can read them."""

from __future__ import annotations

from dataclasses import dataclass

from sqlite_utils import Database

from core import clock
from web.store.db import Row, execute, fetch_rows

SET = """
    INSERT INTO variable (project_id, name, value, is_secret, changed_at) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (project_id, name) DO UPDATE SET
        value = excluded.value, is_secret = excluded.is_secret, changed_at = excluded.changed_at
"""


@dataclass(frozen=True, kw_only=True)
class StoredVariable:
    name: str
    value: bytes
    is_secret: bool
    changed_at: str


def list_variables(db: Database, project_id: int) -> list[StoredVariable]:
    """List the variables of a project by name."""
    found = fetch_rows(db, "SELECT * FROM variable WHERE project_id = ? ORDER BY name", (project_id,))
    return [_variable(item) for item in found]


def list_names(db: Database, project_id: int) -> frozenset[str]:
    return frozenset(
        found["name"] for found in fetch_rows(db, "SELECT name FROM variable WHERE project_id = ?", (project_id,))
    )


def set_one(db: Database, project_id: int, name: str, value: bytes, *, is_secret: bool) -> None:
    """Add or replace a variable."""
    execute(db, SET, (project_id, name, value, is_secret, clock.now()))


def remove(db: Database, project_id: int, name: str) -> bool:
    """Delete a variable; return False if it does not exist."""
    return execute(db, "DELETE FROM variable WHERE project_id = ? AND name = ?", (project_id, name)) > 0


def _variable(found: Row) -> StoredVariable:
    return StoredVariable(
        name=found["name"],
        value=bytes(found["value"]),
        is_secret=bool(found["is_secret"]),
        changed_at=found["changed_at"],
    )
