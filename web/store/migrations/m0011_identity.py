"""Logins split from clone URLs, scopes and lifetimes of tokens, sessions that end with them, disabled users."""

from __future__ import annotations

from sqlite_utils import Database

from web.store.script import run_script

SQL = """
-- User and password of `url`, encrypted. What older versions stored inside `url` is moved here when the server starts:
-- a migration does not have the key.
ALTER TABLE repository ADD COLUMN git_login BLOB;

ALTER TABLE user ADD COLUMN disabled_at TEXT;

-- `scopes` are words with blanks between them. A session names the token and the generation that it began with, so a new
-- generation ends all sessions of a token. It is random because SQLite gives the id of a deleted row to another one.
ALTER TABLE token ADD COLUMN scopes TEXT NOT NULL DEFAULT 'admin';
ALTER TABLE token ADD COLUMN expires_at TEXT;
ALTER TABLE token ADD COLUMN last_used_at TEXT;
ALTER TABLE token ADD COLUMN revoked_at TEXT;
ALTER TABLE token ADD COLUMN generation TEXT NOT NULL DEFAULT '';
UPDATE token SET generation = lower(hex(randomblob(16)))
"""


def migrate(db: Database) -> None:
    run_script(db, SQL)
