"""Members of projects that come from their Git hosts."""

from __future__ import annotations

from sqlite_utils import Database

from web.store.script import run_script

SQL = """
-- A project that takes members from its Git host, who get at most the role `most`. `answered_at` is when the Git host
-- last listed its people, `problem` why it has not done so since, and `rest_until` until when it is left alone.
CREATE TABLE member_source (
    project_id INTEGER PRIMARY KEY REFERENCES project(id), most TEXT NOT NULL, created_at TEXT NOT NULL,
    answered_at TEXT, problem TEXT NOT NULL DEFAULT '', due_at TEXT NOT NULL, rest_until TEXT NOT NULL
)
"""


def migrate(db: Database) -> None:
    run_script(db, SQL)
