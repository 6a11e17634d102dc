"""An index that counts runners: each heartbeat does, and would read all rows."""

from __future__ import annotations

from sqlite_utils import Database

from web.store.script import run_script

SQL = """
CREATE INDEX runner_present ON runner (id) WHERE removed_at IS NULL;
"""


def migrate(db: Database) -> None:
    run_script(db, SQL)
