"""What commits need besides their own files."""

from __future__ import annotations

from sqlite_utils import Database

from web.store.script import run_script

SQL = """
-- Submodules and Git LFS objects of a commit: `state` is wanted, ready or failed; `message` says how far fetching is;
-- `missing` and `skipped` are JSON lists of [path, reason].
CREATE TABLE source (
    repository_id INTEGER NOT NULL REFERENCES repository(id), sha TEXT NOT NULL, state TEXT NOT NULL,
    message TEXT NOT NULL DEFAULT '', missing TEXT NOT NULL DEFAULT '[]', skipped TEXT NOT NULL DEFAULT '[]',
    changed_at TEXT NOT NULL, PRIMARY KEY (repository_id, sha)
) WITHOUT ROWID;
CREATE INDEX source_wanted ON source (repository_id) WHERE state = 'wanted'
"""


def migrate(db: Database) -> None:
    run_script(db, SQL)
