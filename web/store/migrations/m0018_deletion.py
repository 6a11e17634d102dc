"""Deleted executions, purged and uploaded files, and names of files."""

from __future__ import annotations

from sqlite_utils import Database

from web.store.script import run_script

SQL = """
ALTER TABLE execution ADD COLUMN deleted_at TEXT;

-- A file that a user uploaded has no execution. The content of a purged one is deleted.
CREATE TABLE new_datum (
    id INTEGER PRIMARY KEY, uuid TEXT NOT NULL UNIQUE, project_id INTEGER NOT NULL REFERENCES project(id),
    execution_id INTEGER REFERENCES execution(id), name TEXT NOT NULL, size INTEGER NOT NULL,
    sha256 TEXT NOT NULL, sha1 TEXT NOT NULL, md5 TEXT NOT NULL, created_at TEXT NOT NULL, purged_at TEXT
);
INSERT INTO new_datum (id, uuid, project_id, execution_id, name, size, sha256, sha1, md5, created_at)
    SELECT id, uuid, project_id, execution_id, name, size, sha256, sha1, md5, created_at FROM datum;
DROP TABLE datum;
ALTER TABLE new_datum RENAME TO datum;
CREATE INDEX datum_of_execution ON datum (execution_id, name);
CREATE INDEX datum_of_project ON datum (project_id, id);

-- A name of a file in its project. `datum_id` is that of the file that it names now.
CREATE TABLE datum_alias (
    id INTEGER PRIMARY KEY, uuid TEXT NOT NULL UNIQUE, project_id INTEGER NOT NULL REFERENCES project(id),
    name TEXT NOT NULL, datum_id INTEGER NOT NULL REFERENCES datum(id), created_at TEXT NOT NULL,
    changed_at TEXT NOT NULL, UNIQUE (project_id, name)
);
CREATE INDEX datum_alias_of_datum ON datum_alias (datum_id)
"""


def migrate(db: Database) -> None:
    run_script(db, SQL)
