"""Tasks, pipelines and their nodes."""

from __future__ import annotations

from sqlite_utils import Database

from web.store.script import run_script

SQL = """
ALTER TABLE project ADD COLUMN task_counter INTEGER NOT NULL DEFAULT 0;
ALTER TABLE project ADD COLUMN pipeline_counter INTEGER NOT NULL DEFAULT 0;

-- By repository: while a remote is away its deliveries pile up, and each sweep asks whose time has come.
DROP INDEX delivery_waiting;
CREATE INDEX delivery_stored ON delivery (repository_id, id, retry_at) WHERE state = 'stored';

CREATE TABLE pipeline (
    id INTEGER PRIMARY KEY, uuid TEXT NOT NULL UNIQUE, project_id INTEGER NOT NULL REFERENCES project(id),
    counter INTEGER NOT NULL, commit_id INTEGER NOT NULL REFERENCES git_commit(id), push_id INTEGER REFERENCES push(id),
    name TEXT NOT NULL, config TEXT NOT NULL, parameters TEXT NOT NULL, environment TEXT NOT NULL DEFAULT '',
    priority INTEGER NOT NULL DEFAULT 0, why TEXT NOT NULL DEFAULT '', creator_id INTEGER NOT NULL REFERENCES user(id),
    state TEXT NOT NULL, message TEXT NOT NULL DEFAULT '', stop_requested_at TEXT, stopped_by TEXT NOT NULL DEFAULT '',
    created_at TEXT NOT NULL, started_at TEXT, ended_at TEXT, UNIQUE (project_id, counter)
);
CREATE INDEX pipeline_of_commit ON pipeline (commit_id);
CREATE INDEX pipeline_of_push ON pipeline (push_id);
CREATE INDEX pipeline_unfinished ON pipeline (state) WHERE state IN ('created', 'started');
CREATE TABLE pipeline_node (
    id INTEGER PRIMARY KEY, uuid TEXT NOT NULL UNIQUE, pipeline_id INTEGER NOT NULL REFERENCES pipeline(id),
    position INTEGER NOT NULL, name TEXT NOT NULL, kind TEXT NOT NULL, state TEXT NOT NULL, message TEXT NOT NULL DEFAULT '',
    retries INTEGER NOT NULL DEFAULT 0, approval_asked_at TEXT, approved_at TEXT, approved_by TEXT NOT NULL DEFAULT '',
    started_at TEXT, ended_at TEXT, UNIQUE (pipeline_id, name)
);

CREATE TABLE task (
    id INTEGER PRIMARY KEY, uuid TEXT NOT NULL UNIQUE, project_id INTEGER NOT NULL REFERENCES project(id),
    counter INTEGER NOT NULL, commit_id INTEGER NOT NULL REFERENCES git_commit(id), push_id INTEGER REFERENCES push(id),
    pipeline_node_id INTEGER REFERENCES pipeline_node(id), name TEXT NOT NULL, step TEXT NOT NULL, type TEXT NOT NULL,
    config TEXT NOT NULL, parameters TEXT NOT NULL, inputs TEXT NOT NULL, environment_variables TEXT NOT NULL,
    environment TEXT NOT NULL DEFAULT '', priority INTEGER NOT NULL DEFAULT 0, why TEXT NOT NULL DEFAULT '',
    seed INTEGER NOT NULL, planned INTEGER NOT NULL DEFAULT 0, creator_id INTEGER NOT NULL REFERENCES user(id),
    state TEXT NOT NULL, ending TEXT, message TEXT NOT NULL DEFAULT '', stop_requested_at TEXT,
    stopped_by TEXT NOT NULL DEFAULT '', created_at TEXT NOT NULL, started_at TEXT, ended_at TEXT,
    UNIQUE (project_id, counter)
);
CREATE INDEX task_of_commit ON task (commit_id);
CREATE INDEX task_of_push ON task (push_id);
CREATE INDEX task_of_node ON task (pipeline_node_id) WHERE pipeline_node_id IS NOT NULL;
CREATE INDEX task_unfinished ON task (state) WHERE state IN ('created', 'started');

ALTER TABLE execution ADD COLUMN task_id INTEGER REFERENCES task(id);
ALTER TABLE execution ADD COLUMN trial INTEGER;
ALTER TABLE execution ADD COLUMN pipeline_node_id INTEGER REFERENCES pipeline_node(id);
CREATE INDEX execution_of_task ON execution (task_id, trial) WHERE task_id IS NOT NULL;
CREATE INDEX execution_of_node ON execution (pipeline_node_id) WHERE pipeline_node_id IS NOT NULL;
-- A push may have a thousand trials: whoever asks for its steps need not walk over them.
DROP INDEX execution_of_push;
CREATE INDEX execution_of_push ON execution (push_id, task_id, step)
"""


def migrate(db: Database) -> None:
    run_script(db, SQL)
