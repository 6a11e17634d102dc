"""Idempotency keys: which run a project's user got for a key. Old keys are forgotten."""

from __future__ import annotations

from collections.abc import Iterator

from sqlite_utils import Database

from core import clock
from core.errors import Problem
from core.model import TargetKind
from web.store.db import execute, fetch_row, insert, needs_transaction

KEY_CHARS = 200
KEPT_S = 24 * 3600.0


def find_problems(key: str) -> Iterator[Problem]:
    if len(key) > KEY_CHARS or not key.isprintable():
        yield Problem(f"an idempotency key has at most {KEY_CHARS} printable characters", "idempotency_key")


def find(db: Database, project_id: int, creator_id: int, key: str) -> tuple[TargetKind, int] | None:
    """Return kind and row number of the run that was launched with a key."""
    sql = "SELECT kind, launched_id FROM launch_key WHERE project_id = ? AND creator_id = ? AND key = ?"
    found = fetch_row(db, sql, (project_id, creator_id, key))
    return (TargetKind(found["kind"]), found["launched_id"]) if found else None


@needs_transaction
def add(db: Database, project_id: int, creator_id: int, key: str, kind: TargetKind, launched_id: int) -> None:
    """Store the run of a key, and forget the keys of more than a day ago."""
    execute(db, "DELETE FROM launch_key WHERE created_at < ?", (clock.add_to_now(-KEPT_S),))
    values = {"project_id": project_id, "creator_id": creator_id, "key": key, "kind": kind}
    insert(db, "launch_key", values | {"launched_id": launched_id, "created_at": clock.now()})
