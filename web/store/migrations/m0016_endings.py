"""How a pipeline will end, and which nodes were skipped, as values in place of their messages."""

from __future__ import annotations

from sqlite_utils import Database

from web.store.script import run_script

SQL = """
ALTER TABLE pipeline ADD COLUMN ending TEXT;
ALTER TABLE pipeline_node ADD COLUMN skipped INTEGER NOT NULL DEFAULT 0;
UPDATE pipeline SET ending = CASE WHEN stop_requested_at IS NULL THEN 'error' ELSE 'stopped' END
    WHERE ended_at IS NULL AND message != '';
UPDATE pipeline_node SET skipped = 1 WHERE state = 'stopped' AND message LIKE 'skipped: %';
"""


def migrate(db: Database) -> None:
    run_script(db, SQL)
