"""Bring databases that early versions made to the schema that migrations 1 to 6 make today.

Before migrations were frozen, some were edited after databases had applied them: such a database lacks columns and indexes,
or has an index of an older shape. What it has already stays as it is.
"""

from __future__ import annotations

import re

from sqlite_utils import Database

COLUMNS = (
    ("execution", "memory", "INTEGER NOT NULL DEFAULT 0"),
    ("execution", "cpus", "REAL NOT NULL DEFAULT 0"),
    ("execution", "stopped_by", "TEXT NOT NULL DEFAULT ''"),
    ("delivery", "pruned", "INTEGER NOT NULL DEFAULT 0"),
    ("outbox", "pipeline", "TEXT NOT NULL DEFAULT ''"),
    ("push", "late", "INTEGER NOT NULL DEFAULT 0"),
    ("repository", "fetch_problem", "TEXT NOT NULL DEFAULT ''"),
    ("task", "ending", "TEXT"),
    ("task", "planned", "INTEGER NOT NULL DEFAULT 0"),
)
INDEXES = {
    "execution_of_state": "ON execution (project_id, state)",
    "execution_of_step": "ON execution (project_id, step)",
    "execution_lost": "ON execution (id) WHERE autorestart AND failure_reason IN ('runner_lost', 'interrupted')",
    "commit_status_newest": "ON commit_status (repository_id, posted_at)",
    "delivery_kept": "ON delivery (handled_at) WHERE pruned = 0",
    "delivery_told": "ON delivery (repository_id) WHERE source NOT IN ('poll', 'schedule') AND state != 'refused'",
    "outbox_due": "ON outbox (repository_id, due_at) WHERE due_at IS NOT NULL",
    "push_of_delivery": "ON push (delivery_id)",
    "delivery_stored": "ON delivery (repository_id, id, retry_at) WHERE state = 'stored'",
    "execution_of_push": "ON execution (push_id, task_id, step)",
}
REPLACED_INDEXES = ("delivery_waiting",)


def migrate(db: Database) -> None:
    for table, column, definition in COLUMNS:
        if column not in {found[1] for found in db.conn.execute(f"PRAGMA table_info({table})")}:
            db.conn.execute(f"ALTER TABLE {table} ADD COLUMN {column} {definition}")
    for index in REPLACED_INDEXES:
        db.conn.execute(f"DROP INDEX IF EXISTS {index}")
    for index, definition in INDEXES.items():
        statement = f"CREATE INDEX {index} {definition}"
        found = db.conn.execute("SELECT sql FROM sqlite_master WHERE type = 'index' AND name = ?", (index,)).fetchone()
        if found is None or re.sub(r"\s+", " ", found[0]) != statement:
            db.conn.execute(f"DROP INDEX IF EXISTS {index}")
            db.conn.execute(statement)
