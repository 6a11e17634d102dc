"""Environments, GPUs, mounts, priorities and restarts of executions, project variables, resource usage."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

from sqlite_utils import Database

from web.store.script import run_script

SQL = """
CREATE TABLE environment (
    id INTEGER PRIMARY KEY, uuid TEXT NOT NULL UNIQUE, slug TEXT NOT NULL UNIQUE, description TEXT NOT NULL DEFAULT '',
    images TEXT NOT NULL DEFAULT '[]', pull TEXT NOT NULL DEFAULT 'missing', gpus INTEGER NOT NULL DEFAULT 0,
    memory INTEGER NOT NULL DEFAULT 0, cpus REAL NOT NULL DEFAULT 0, network TEXT NOT NULL DEFAULT 'open',
    mounts TEXT NOT NULL DEFAULT '[]', max_executions INTEGER NOT NULL DEFAULT 0, autorestart INTEGER NOT NULL DEFAULT 0,
    created_at TEXT NOT NULL
);
ALTER TABLE project ADD COLUMN environment TEXT NOT NULL DEFAULT 'default';
ALTER TABLE project ADD COLUMN max_executions INTEGER NOT NULL DEFAULT 0;

-- `redis_sha256` is the hash of its password in Redis, from which its user there is made again when Redis forgot it.
ALTER TABLE runner ADD COLUMN draining INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runner ADD COLUMN removed_at TEXT;
ALTER TABLE runner ADD COLUMN redis_sha256 TEXT;

ALTER TABLE execution ADD COLUMN gpus INTEGER NOT NULL DEFAULT 0;
ALTER TABLE execution ADD COLUMN devices TEXT NOT NULL DEFAULT '[]';
ALTER TABLE execution ADD COLUMN mounts TEXT NOT NULL DEFAULT '[]';
ALTER TABLE execution ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;
ALTER TABLE execution ADD COLUMN autorestart INTEGER NOT NULL DEFAULT 0;
ALTER TABLE execution ADD COLUMN retry_of INTEGER REFERENCES execution(id);
CREATE INDEX execution_of_retried ON execution (retry_of) WHERE retry_of IS NOT NULL;
CREATE INDEX execution_lost ON execution (id)
    WHERE autorestart AND failure_reason IN ('runner_lost', 'interrupted');

-- `value` is encrypted with the server's key, whether it is a secret or not.
CREATE TABLE variable (
    id INTEGER PRIMARY KEY, project_id INTEGER NOT NULL REFERENCES project(id), name TEXT NOT NULL, value BLOB NOT NULL,
    is_secret INTEGER NOT NULL, changed_at TEXT NOT NULL, UNIQUE (project_id, name)
);

-- What an execution used: `series` is cpu (processors), memory (bytes), gpu:N (percent) or gpu_memory:N (bytes).
CREATE TABLE usage (
    execution_id INTEGER NOT NULL REFERENCES execution(id), series TEXT NOT NULL, time_us INTEGER NOT NULL,
    value REAL NOT NULL, PRIMARY KEY (execution_id, series, time_us)
) WITHOUT ROWID
"""


def migrate(db: Database) -> None:
    run_script(db, SQL)
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    insert = "INSERT INTO environment (uuid, slug, created_at) VALUES (?, 'default', ?)"
    db.conn.execute(insert, (str(uuid.uuid4()), now))
