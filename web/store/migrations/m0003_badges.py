"""Whether a project's badge is public."""

from __future__ import annotations

from sqlite_utils import Database

from web.store.script import run_script

SQL = """
ALTER TABLE project ADD COLUMN badge_public INTEGER NOT NULL DEFAULT 1
"""


def migrate(db: Database) -> None:
    run_script(db, SQL)
