"""Where executions, tasks and pipelines come from, what was changed, and keys that make launches idempotent."""

from __future__ import annotations

from sqlite_utils import Database

from web.store.script import run_script

SQL = """
ALTER TABLE execution ADD COLUMN origin TEXT NOT NULL DEFAULT 'push';
ALTER TABLE execution ADD COLUMN client TEXT NOT NULL DEFAULT '';
ALTER TABLE execution ADD COLUMN changed TEXT NOT NULL DEFAULT '[]';
ALTER TABLE task ADD COLUMN title TEXT NOT NULL DEFAULT '';
ALTER TABLE task ADD COLUMN tags TEXT NOT NULL DEFAULT '[]';
ALTER TABLE task ADD COLUMN origin TEXT NOT NULL DEFAULT 'push';
ALTER TABLE task ADD COLUMN client TEXT NOT NULL DEFAULT '';
ALTER TABLE task ADD COLUMN changed TEXT NOT NULL DEFAULT '[]';
ALTER TABLE pipeline ADD COLUMN title TEXT NOT NULL DEFAULT '';
ALTER TABLE pipeline ADD COLUMN tags TEXT NOT NULL DEFAULT '[]';
ALTER TABLE pipeline ADD COLUMN origin TEXT NOT NULL DEFAULT 'push';
ALTER TABLE pipeline ADD COLUMN client TEXT NOT NULL DEFAULT '';
ALTER TABLE pipeline ADD COLUMN changed TEXT NOT NULL DEFAULT '[]';

UPDATE execution SET origin = 'schedule' WHERE push_id IN (SELECT id FROM push WHERE kind = 'schedule');
UPDATE task SET origin = 'schedule' WHERE push_id IN (SELECT id FROM push WHERE kind = 'schedule');
UPDATE pipeline SET origin = 'schedule' WHERE push_id IN (SELECT id FROM push WHERE kind = 'schedule');
UPDATE execution SET origin = 'node' WHERE pipeline_node_id IS NOT NULL;
UPDATE task SET origin = 'node' WHERE pipeline_node_id IS NOT NULL;
UPDATE execution SET origin = 'trial' WHERE task_id IS NOT NULL;
UPDATE execution SET origin = 'rerun' WHERE retry_of IS NOT NULL;

-- A repeated request with the same key gets the run of the first one.
CREATE TABLE launch_key (
    project_id INTEGER NOT NULL REFERENCES project(id), creator_id INTEGER NOT NULL REFERENCES user(id),
    key TEXT NOT NULL, kind TEXT NOT NULL, launched_id INTEGER NOT NULL, created_at TEXT NOT NULL,
    PRIMARY KEY (project_id, creator_id, key)
) WITHOUT ROWID;
CREATE INDEX launch_key_age ON launch_key (created_at);
"""


def migrate(db: Database) -> None:
    run_script(db, SQL)
