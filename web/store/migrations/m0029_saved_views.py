"""Saved views of a project's executions."""

from __future__ import annotations

from sqlite_utils import Database

from web.store.script import run_script

SQL = """
-- `query` is the query of the page's address, without a place.
CREATE TABLE saved_view (
    id INTEGER PRIMARY KEY, project_id INTEGER NOT NULL REFERENCES project(id), name TEXT NOT NULL, query TEXT NOT NULL,
    UNIQUE (project_id, name)
)
"""


def migrate(db: Database) -> None:
    run_script(db, SQL)
