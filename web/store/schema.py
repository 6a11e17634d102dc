"""The tables, as migrations: each is applied once, in order. What has been released is never changed, only added to."""

from __future__ import annotations

import uuid

from sqlite_utils import Database, Migrations

from core import clock
from web.store.db import insert

schema = Migrations("pushmill")


def migrate(db: Database) -> None:
    """Apply what is missing of the schema. Idempotent."""
    schema.apply(db)


@schema()
def initial(db: Database) -> None:
    _run(db, INITIAL)


@schema()
def environments(db: Database) -> None:
    _run(db, ENVIRONMENTS)
    insert(db, "environment", {"uuid": str(uuid.uuid4()), "slug": "default", "created_at": clock.now()})


@schema()
def badges(db: Database) -> None:
    _run(db, BADGES)


@schema()
def redeliveries(db: Database) -> None:
    _run(db, REDELIVERIES)


@schema()
def forges(db: Database) -> None:
    _run(db, FORGES)


@schema()
def tasks_and_pipelines(db: Database) -> None:
    _run(db, TASKS_AND_PIPELINES)


def _run(db: Database, script: str) -> None:
    for statement in script.split(";"):
        db.conn.execute(statement)


INITIAL = """
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

ENVIRONMENTS = """
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

BADGES = """
ALTER TABLE project ADD COLUMN badge_public INTEGER NOT NULL DEFAULT 1
"""

# A push that was run again counts where the first one stands: what is newest in a ref is found in that order.
REDELIVERIES = """
ALTER TABLE delivery ADD COLUMN signature TEXT NOT NULL DEFAULT 'valid';
ALTER TABLE delivery ADD COLUMN again_of INTEGER REFERENCES delivery(id);
CREATE INDEX delivery_of_repository ON delivery (repository_id);
CREATE INDEX delivery_refused ON delivery (repository_id, received_at) WHERE state = 'refused';
CREATE INDEX delivery_again ON delivery (again_of) WHERE again_of IS NOT NULL;

ALTER TABLE push ADD COLUMN again_of INTEGER REFERENCES push(id);
CREATE INDEX push_in_order ON push (repository_id, ref, COALESCE(again_of, id))
"""

FORGES = """
ALTER TABLE project ADD COLUMN rules TEXT NOT NULL DEFAULT '';
ALTER TABLE project ADD COLUMN rules_changed_at TEXT;
ALTER TABLE project ADD COLUMN comments INTEGER NOT NULL DEFAULT 0;

-- `api_token` is encrypted. `deploy_key` is the public half of `ssh_key`.
ALTER TABLE repository ADD COLUMN deploy_key TEXT NOT NULL DEFAULT '';
ALTER TABLE repository ADD COLUMN api_token BLOB;
ALTER TABLE repository ADD COLUMN api_url TEXT NOT NULL DEFAULT '';
ALTER TABLE repository ADD COLUMN api_problem TEXT NOT NULL DEFAULT '';
ALTER TABLE repository ADD COLUMN api_retry_at TEXT;
ALTER TABLE repository ADD COLUMN fetch_retry_at TEXT;
ALTER TABLE repository ADD COLUMN polled_at TEXT;
ALTER TABLE repository ADD COLUMN fetch_problem TEXT NOT NULL DEFAULT '';

-- `pruned`: neither body nor headers are kept any more.
ALTER TABLE delivery ADD COLUMN pruned INTEGER NOT NULL DEFAULT 0;
CREATE INDEX delivery_kept ON delivery (handled_at) WHERE pruned = 0;
CREATE INDEX delivery_told ON delivery (repository_id) WHERE source NOT IN ('poll', 'schedule') AND state != 'refused';
CREATE INDEX push_of_delivery ON push (delivery_id);

CREATE TABLE pull_request (
    id INTEGER PRIMARY KEY, repository_id INTEGER NOT NULL REFERENCES repository(id), number INTEGER NOT NULL,
    sha TEXT NOT NULL, title TEXT NOT NULL, author TEXT NOT NULL, url TEXT NOT NULL, head_branch TEXT NOT NULL,
    base_branch TEXT NOT NULL, from_fork INTEGER NOT NULL, closed INTEGER NOT NULL DEFAULT 0,
    comment_id TEXT NOT NULL DEFAULT '', comment_sha256 TEXT NOT NULL DEFAULT '', changed_at TEXT NOT NULL,
    UNIQUE (repository_id, number)
);
-- A late push was told of after a newer one of its ref: it runs, and moves nothing.
ALTER TABLE push ADD COLUMN late INTEGER NOT NULL DEFAULT 0;
ALTER TABLE push ADD COLUMN kind TEXT NOT NULL DEFAULT 'push';
ALTER TABLE push ADD COLUMN pull_request_id INTEGER REFERENCES pull_request(id);
CREATE INDEX push_of_pull_request ON push (pull_request_id) WHERE pull_request_id IS NOT NULL;

-- A member let this commit of a fork run.
CREATE TABLE approval (
    id INTEGER PRIMARY KEY, repository_id INTEGER NOT NULL REFERENCES repository(id), sha TEXT NOT NULL,
    user_id INTEGER NOT NULL REFERENCES user(id), created_at TEXT NOT NULL, UNIQUE (repository_id, sha)
);

-- What forges must be told: one line for each commit (`kind` is status, `subject` its sha) and each pull request (comment,
-- its number). A line with a `due_at` may differ from what the forge shows. `version` counts what happened to it meanwhile.
CREATE TABLE outbox (
    id INTEGER PRIMARY KEY, repository_id INTEGER NOT NULL REFERENCES repository(id), kind TEXT NOT NULL,
    subject TEXT NOT NULL, version INTEGER NOT NULL DEFAULT 1, due_at TEXT, since TEXT, attempts INTEGER NOT NULL DEFAULT 0,
    problem TEXT NOT NULL DEFAULT '', pipeline TEXT NOT NULL DEFAULT '', changed_at TEXT NOT NULL,
    UNIQUE (repository_id, kind, subject)
);
CREATE INDEX outbox_due ON outbox (repository_id, due_at) WHERE due_at IS NOT NULL;

-- What the forge shows of a commit, as far as it has answered.
CREATE TABLE commit_status (
    repository_id INTEGER NOT NULL REFERENCES repository(id), sha TEXT NOT NULL, context TEXT NOT NULL, state TEXT NOT NULL,
    description TEXT NOT NULL, url TEXT NOT NULL, problem TEXT NOT NULL DEFAULT '', posted_at TEXT NOT NULL,
    PRIMARY KEY (repository_id, sha, context)
) WITHOUT ROWID;
CREATE INDEX commit_status_newest ON commit_status (repository_id, posted_at);
ALTER TABLE execution ADD COLUMN stopped_by TEXT NOT NULL DEFAULT '';

-- How far somebody has read a table that only grows.
CREATE TABLE cursor (name TEXT PRIMARY KEY, position INTEGER NOT NULL) WITHOUT ROWID
"""

TASKS_AND_PIPELINES = """
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
