"""The audit trail: who did what to what, when and from where."""

from __future__ import annotations

from sqlite_utils import Database

from web.store.script import run_script

SQL = """
-- Names instead of references: an entry outlives the user, the token and the project that it names. `project_uuid`
-- tells a project from a later one of the same name.
CREATE TABLE audit (
    id INTEGER PRIMARY KEY, at TEXT NOT NULL, action TEXT NOT NULL, kind TEXT NOT NULL,
    name TEXT NOT NULL, project TEXT NOT NULL, project_uuid TEXT NOT NULL, username TEXT NOT NULL,
    token TEXT NOT NULL, way TEXT NOT NULL, address TEXT NOT NULL, detail TEXT NOT NULL
);
CREATE INDEX audit_action ON audit (action, id);
CREATE INDEX audit_project ON audit (project, id);
CREATE INDEX audit_username ON audit (username, id)
"""


def migrate(db: Database) -> None:
    run_script(db, SQL)
