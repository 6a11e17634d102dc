"""What a commit's configuration is the result of reading, so that the same content is read once."""

from __future__ import annotations

from sqlite_utils import Database

from web.store.script import run_script

SQL = """
ALTER TABLE git_commit ADD COLUMN config_key TEXT;
CREATE INDEX git_commit_config ON git_commit (config_key) WHERE config_key IS NOT NULL
"""


def migrate(db: Database) -> None:
    run_script(db, SQL)
