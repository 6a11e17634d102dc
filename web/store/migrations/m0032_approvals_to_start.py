"""Started nodes without the times of their approval to start: those of a later approval are never compared with them."""

from __future__ import annotations

from sqlite_utils import Database


def migrate(db: Database) -> None:
    db.conn.execute(
        "UPDATE pipeline_node SET approval_asked_at = NULL, approved_at = NULL"
        " WHERE state = 'started' AND approval_asked_at <= started_at"
    )
