"""Roles in projects, passwords, invitations, and sessions that are rows of their own."""

from __future__ import annotations

from sqlite_utils import Database

from web.store.script import run_script

SQL = """
-- `source` is empty for a role that somebody gave here, else it names where the role comes from.
-- Until now every user could do everything in every project.
CREATE TABLE member (
    project_id INTEGER NOT NULL REFERENCES project(id), user_id INTEGER NOT NULL REFERENCES user(id),
    role TEXT NOT NULL, source TEXT NOT NULL DEFAULT '', created_at TEXT NOT NULL, PRIMARY KEY (user_id, project_id)
) WITHOUT ROWID;
CREATE INDEX member_project ON member (project_id);
INSERT INTO member (project_id, user_id, role, created_at)
    SELECT project.id, user.id, 'owner', strftime('%Y-%m-%dT%H:%M:%f000Z') FROM project, user;

-- Hashed by argon2; NULL for users who log in with tokens only.
ALTER TABLE user ADD COLUMN password TEXT;

-- A link by which a user sets a password or gets a token, once.
CREATE TABLE invitation (
    id INTEGER PRIMARY KEY, user_id INTEGER NOT NULL REFERENCES user(id), sha256 TEXT NOT NULL UNIQUE,
    created_at TEXT NOT NULL, expires_at TEXT NOT NULL, used_at TEXT
);

-- `id` is the hash of the secret in the cookie; `token_id` the token that somebody logged in with, with which it ends.
CREATE TABLE session (
    id TEXT PRIMARY KEY, user_id INTEGER NOT NULL REFERENCES user(id),
    token_id INTEGER REFERENCES token(id) ON DELETE CASCADE,
    address TEXT NOT NULL, client TEXT NOT NULL, created_at TEXT NOT NULL, last_used_at TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX session_user ON session (user_id);
ALTER TABLE token DROP COLUMN generation
"""


def migrate(db: Database) -> None:
    run_script(db, SQL)
