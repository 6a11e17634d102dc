"""How many values each metadata key of an execution has had, and how many of them are stored."""

from __future__ import annotations

from sqlite_utils import Database

from web.store.script import run_script

SQL = """
-- `points` counts every value that was printed, `kept` the rows in `metadata`: many values are thinned.
ALTER TABLE latest ADD COLUMN points INTEGER NOT NULL DEFAULT 0;
ALTER TABLE latest ADD COLUMN kept INTEGER NOT NULL DEFAULT 0;
UPDATE latest SET points = (
    SELECT COUNT(*) FROM metadata WHERE metadata.execution_id = latest.execution_id AND metadata.key_id = latest.key_id
);
UPDATE latest SET kept = points;
"""


def migrate(db: Database) -> None:
    run_script(db, SQL)
