"""Accounts at providers of logins."""

from __future__ import annotations

from sqlite_utils import Database

from web.store.script import run_script

SQL = """
-- `subject` is what the issuer calls the account for good; `name` may change there.
CREATE TABLE login (
    issuer TEXT NOT NULL, subject TEXT NOT NULL, user_id INTEGER NOT NULL REFERENCES user(id), name TEXT NOT NULL,
    created_at TEXT NOT NULL, PRIMARY KEY (issuer, subject)
) WITHOUT ROWID;
CREATE INDEX login_user ON login (user_id)
"""


def migrate(db: Database) -> None:
    run_script(db, SQL)
