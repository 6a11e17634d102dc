"""The unfinished line of each stream, and where the newest part of a stream is that outgrew the log's limit."""

from __future__ import annotations

from sqlite_utils import Database

from web.store.script import run_script

SQL = """
ALTER TABLE execution ADD COLUMN log_partial TEXT NOT NULL DEFAULT '{}';
ALTER TABLE execution ADD COLUMN log_tails TEXT NOT NULL DEFAULT '{}';
"""


def migrate(db: Database) -> None:
    run_script(db, SQL)
