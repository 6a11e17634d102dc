"""The stages of executions: how long each took."""

from __future__ import annotations

from sqlite_utils import Database

from web.store.script import run_script

SQL = """
-- JSON: seconds of the stages that are over by name, and `run_at`, when the container started.
ALTER TABLE execution ADD COLUMN stages TEXT NOT NULL DEFAULT '{}';
"""


def migrate(db: Database) -> None:
    run_script(db, SQL)
