"""Ad-hoc code: commits that were uploaded as packages."""

from __future__ import annotations

from sqlite_utils import Database

from web.store.script import run_script

SQL = """
-- The name of its commit in the repository; the identifier is the hash of the package. NULL for all other commits.
ALTER TABLE git_commit ADD COLUMN git_sha TEXT;
CREATE INDEX commit_adhoc ON git_commit (repository_id) WHERE git_sha IS NOT NULL
"""


def migrate(db: Database) -> None:
    run_script(db, SQL)
