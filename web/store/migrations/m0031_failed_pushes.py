"""The result of pushes whose commit was missing, which only their text said."""

from __future__ import annotations

from sqlite_utils import Database


def migrate(db: Database) -> None:
    db.conn.execute("UPDATE push SET result = 'failed' WHERE result = '' AND outcome LIKE 'failed: %'")
