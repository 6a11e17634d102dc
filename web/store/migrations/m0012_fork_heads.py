"""Where the head of a fork's pull request is fetched from when the repository has no ref for it."""

from __future__ import annotations

from sqlite_utils import Database

from web.store.script import run_script

SQL = "ALTER TABLE pull_request ADD COLUMN fetch_url TEXT NOT NULL DEFAULT ''"


def migrate(db: Database) -> None:
    run_script(db, SQL)
