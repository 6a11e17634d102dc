"""Forge APIs: rules, tokens, pull requests, approvals, and the outbox of commit statuses and comments."""

from __future__ import annotations

from sqlite_utils import Database

from web.store.script import run_script

SQL = """
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


def migrate(db: Database) -> None:
    run_script(db, SQL)
