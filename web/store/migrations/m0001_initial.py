"""Users, projects, repositories, deliveries, commits, pushes, runners, executions, data and metadata."""

from __future__ import annotations

from sqlite_utils import Database

from web.store.script import run_script

SQL = """
CREATE TABLE user (
    id INTEGER PRIMARY KEY, username TEXT NOT NULL UNIQUE, email TEXT NOT NULL DEFAULT '',
    is_admin INTEGER NOT NULL DEFAULT 0, created_at TEXT NOT NULL
);
CREATE TABLE token (
    id INTEGER PRIMARY KEY, user_id INTEGER NOT NULL REFERENCES user(id), name TEXT NOT NULL,
    sha256 TEXT NOT NULL UNIQUE, last8 TEXT NOT NULL, created_at TEXT NOT NULL
);
CREATE TABLE project (
    id INTEGER PRIMARY KEY, uuid TEXT NOT NULL UNIQUE, name TEXT NOT NULL UNIQUE, description TEXT NOT NULL DEFAULT '',
    owner_id INTEGER NOT NULL REFERENCES user(id), yaml_path TEXT NOT NULL DEFAULT 'valohai.yaml',
    execution_counter INTEGER NOT NULL DEFAULT 0, created_at TEXT NOT NULL
);
CREATE TABLE repository (
    id INTEGER PRIMARY KEY, project_id INTEGER NOT NULL REFERENCES project(id), forge TEXT NOT NULL, url TEXT,
    full_name TEXT NOT NULL DEFAULT '', secret BLOB NOT NULL, ssh_key BLOB, default_branch TEXT NOT NULL DEFAULT 'main',
    created_at TEXT NOT NULL
);
CREATE INDEX repository_of_project ON repository (project_id);

-- A delivery is stored before it is answered and is the truth until it is handled. The queue only nudges.
CREATE TABLE delivery (
    id INTEGER PRIMARY KEY, repository_id INTEGER NOT NULL REFERENCES repository(id), source TEXT NOT NULL,
    delivery_id TEXT NOT NULL, event TEXT NOT NULL, headers TEXT NOT NULL, body BLOB NOT NULL, received_at TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'stored', message TEXT NOT NULL DEFAULT '', handled_at TEXT,
    attempts INTEGER NOT NULL DEFAULT 0, retry_at TEXT, UNIQUE (repository_id, delivery_id)
);
CREATE INDEX delivery_waiting ON delivery (id) WHERE state = 'stored';

CREATE TABLE git_commit (
    id INTEGER PRIMARY KEY, project_id INTEGER NOT NULL REFERENCES project(id),
    repository_id INTEGER NOT NULL REFERENCES repository(id), identifier TEXT NOT NULL, ref TEXT NOT NULL,
    ref_names TEXT NOT NULL, message TEXT NOT NULL, author TEXT NOT NULL, committed_at TEXT NOT NULL,
    created_at TEXT NOT NULL, yaml_path TEXT NOT NULL, config_state TEXT NOT NULL, config TEXT, problems TEXT NOT NULL,
    UNIQUE (project_id, identifier)
);
CREATE INDEX commit_newest ON git_commit (project_id, committed_at);

CREATE TABLE push (
    id INTEGER PRIMARY KEY, repository_id INTEGER NOT NULL REFERENCES repository(id), ref TEXT NOT NULL,
    before TEXT NOT NULL, after TEXT NOT NULL, pusher TEXT NOT NULL, message TEXT NOT NULL, options TEXT NOT NULL,
    identity TEXT NOT NULL, delivery_id INTEGER REFERENCES delivery(id), commit_id INTEGER REFERENCES git_commit(id),
    outcome TEXT NOT NULL DEFAULT '', skipped TEXT NOT NULL DEFAULT '[]', created_at TEXT NOT NULL,
    UNIQUE (repository_id, identity)
);
CREATE INDEX push_of_ref ON push (repository_id, ref, id);
CREATE INDEX push_of_commit ON push (commit_id);

CREATE TABLE runner (
    id INTEGER PRIMARY KEY, uuid TEXT NOT NULL UNIQUE, name TEXT NOT NULL UNIQUE, environments TEXT NOT NULL,
    token_sha256 TEXT NOT NULL UNIQUE, token_last8 TEXT NOT NULL, slots INTEGER NOT NULL DEFAULT 0, last_seen_at TEXT,
    info TEXT NOT NULL DEFAULT '{}', created_at TEXT NOT NULL
);

CREATE TABLE execution (
    id INTEGER PRIMARY KEY, uuid TEXT NOT NULL UNIQUE, project_id INTEGER NOT NULL REFERENCES project(id),
    counter INTEGER NOT NULL, commit_id INTEGER NOT NULL REFERENCES git_commit(id), push_id INTEGER REFERENCES push(id),
    step TEXT NOT NULL, title TEXT NOT NULL DEFAULT '', image TEXT NOT NULL, image_digest TEXT, commands TEXT NOT NULL,
    parameters TEXT NOT NULL, inputs TEXT NOT NULL, environment_variables TEXT NOT NULL, environment TEXT NOT NULL,
    tags TEXT NOT NULL DEFAULT '[]', memory INTEGER NOT NULL DEFAULT 0,
    cpus REAL NOT NULL DEFAULT 0, time_limit_s REAL, no_output_limit_s REAL,
    creator_id INTEGER NOT NULL REFERENCES user(id), state TEXT NOT NULL, failure_reason TEXT, failure_message TEXT,
    exit_code INTEGER, status_detail TEXT, stop_requested_at TEXT, stop_count INTEGER NOT NULL DEFAULT 0,
    attempt INTEGER NOT NULL DEFAULT 0, runner_id INTEGER REFERENCES runner(id), placed_at TEXT, lease_expires_at TEXT,
    container_id TEXT, created_at TEXT NOT NULL, queued_at TEXT, started_at TEXT, ended_at TEXT,
    log_bytes INTEGER NOT NULL DEFAULT 0, log_lines INTEGER NOT NULL DEFAULT 0, log_segments INTEGER NOT NULL DEFAULT 0,
    log_last_us INTEGER NOT NULL DEFAULT 0, acknowledged TEXT NOT NULL DEFAULT '{}', metadata_seq INTEGER NOT NULL DEFAULT 0,
    UNIQUE (project_id, counter)
);
CREATE INDEX execution_of_commit ON execution (commit_id);
CREATE INDEX execution_unfinished ON execution (state) WHERE state IN ('created', 'queued', 'started');
CREATE INDEX execution_of_push ON execution (push_id);
CREATE INDEX execution_of_state ON execution (project_id, state);
CREATE INDEX execution_of_step ON execution (project_id, step);

CREATE TABLE state_change (
    id INTEGER PRIMARY KEY, execution_id INTEGER NOT NULL REFERENCES execution(id), from_state TEXT, to_state TEXT NOT NULL,
    at TEXT NOT NULL, reason TEXT NOT NULL
);
CREATE INDEX state_change_of_execution ON state_change (execution_id, id);

CREATE TABLE datum (
    id INTEGER PRIMARY KEY, uuid TEXT NOT NULL UNIQUE, project_id INTEGER NOT NULL REFERENCES project(id),
    execution_id INTEGER NOT NULL REFERENCES execution(id), name TEXT NOT NULL, size INTEGER NOT NULL,
    sha256 TEXT NOT NULL, sha1 TEXT NOT NULL, md5 TEXT NOT NULL, created_at TEXT NOT NULL
);
CREATE INDEX datum_of_execution ON datum (execution_id, name);

-- One row per key of each metadata line. `value` is a number, or JSON text for everything else.
CREATE TABLE metadata_key (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE metadata (
    execution_id INTEGER NOT NULL, key_id INTEGER NOT NULL, seq INTEGER NOT NULL, time_us INTEGER NOT NULL, value,
    PRIMARY KEY (execution_id, key_id, seq)
) WITHOUT ROWID;
CREATE TABLE latest (
    execution_id INTEGER NOT NULL, key_id INTEGER NOT NULL, seq INTEGER NOT NULL, time_us INTEGER NOT NULL, value,
    number REAL, PRIMARY KEY (execution_id, key_id)
) WITHOUT ROWID;
CREATE INDEX latest_by_value ON latest (key_id, number, execution_id);
"""


def migrate(db: Database) -> None:
    run_script(db, SQL)
