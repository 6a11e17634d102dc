"""Sources of commits, that is submodules and Git LFS objects: which are wanted, fetched or missing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from sqlite_utils import Database

from core import clock
from web.store.db import execute, row, rows

READY, FAILED = "ready", "failed"
Reasons = tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Source:
    """The sources of a commit. `missing` and `skipped` are (path, reason) pairs; if ready, nothing is missing."""

    repository_id: int
    sha: str
    state: str
    message: str = ""
    missing: Reasons = ()
    skipped: Reasons = ()
    changed_at: str


def request(db: Database, repository_id: int, sha: str) -> None:
    """Request that the sources of a commit are fetched, even if that failed before."""
    sql = (
        "INSERT INTO source (repository_id, sha, state, changed_at) VALUES (?, ?, 'wanted', ?)"
        " ON CONFLICT (repository_id, sha) DO UPDATE SET state = 'wanted', message = '', missing = '[]',"
        " changed_at = excluded.changed_at WHERE state = 'failed'"
    )
    execute(db, sql, (repository_id, sha, clock.now()))


def find(db: Database, repository_id: int, sha: str) -> Source | None:
    found = row(db, "SELECT * FROM source WHERE repository_id = ? AND sha = ?", (repository_id, sha))
    if found is None:
        return None
    lists = {name: tuple((path, reason) for path, reason in json.loads(found[name])) for name in ("missing", "skipped")}
    return Source(**found | lists)


def wanted(db: Database, repository_id: int) -> str | None:
    """Return a commit whose sources must be fetched, None if there is none."""
    sql = "SELECT sha FROM source WHERE repository_id = ? AND state = 'wanted' ORDER BY changed_at LIMIT 1"
    found = row(db, sql, (repository_id,))
    return str(found["sha"]) if found else None


def repositories_with_wanted(db: Database) -> list[int]:
    sql = "SELECT DISTINCT repository_id FROM source WHERE state = 'wanted'"
    return [int(found["repository_id"]) for found in rows(db, sql)]


def progress(db: Database, repository_id: int, sha: str, message: str) -> None:
    sql = "UPDATE source SET message = ? WHERE repository_id = ? AND sha = ? AND state = 'wanted'"
    execute(db, sql, (message, repository_id, sha))


def finish(
    db: Database,
    repository_id: int,
    sha: str,
    *,
    missing: Sequence[tuple[str, str]],
    skipped: Sequence[tuple[str, str]],
) -> None:
    """Record the result of fetching: ready if nothing is missing, else failed."""
    sql = (
        "UPDATE source SET state = ?, message = '', missing = ?, skipped = ?, changed_at = ?"
        " WHERE repository_id = ? AND sha = ?"
    )
    lists = (json.dumps(missing), json.dumps(skipped))
    execute(db, sql, (FAILED if missing else READY, *lists, clock.now(), repository_id, sha))
