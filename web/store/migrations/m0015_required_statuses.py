"""Results of pushes as values, in place of their texts, and the name of a repository's statuses on its forge."""

from __future__ import annotations

from sqlite_utils import Database

from web.store.script import run_script

SQL = """
-- `problems` are what was asked for and is not there. Texts were all that older versions had to go by.
ALTER TABLE push ADD COLUMN result TEXT NOT NULL DEFAULT '';
ALTER TABLE push ADD COLUMN problems TEXT NOT NULL DEFAULT '[]';
UPDATE push SET result = 'waiting' WHERE outcome = 'waits for approval: from a fork';
UPDATE push SET result = 'skipped' WHERE outcome LIKE 'skipped:%';
CREATE INDEX push_waiting ON push (pull_request_id) WHERE result = 'waiting';

ALTER TABLE repository ADD COLUMN status_context TEXT NOT NULL DEFAULT 'pushmill';
"""


def migrate(db: Database) -> None:
    run_script(db, SQL)
