"""Sources of commits, that is submodules and Git LFS objects: which are wanted, fetched or missing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlite_utils import Database

from core import clock
from web.store.db import execute, fetch_row, fetch_rows

Reasons = tuple[tuple[str, str], ...]


class SourceState(StrEnum):
    WANTED = "wanted"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class CommitSources:
    """The sources of a commit. `missing` and `skipped` are (path, reason) pairs; if ready, nothing is missing."""

    repository_id: int
    sha: str
    state: SourceState
    message: str = ""
    missing: Reasons = ()
    skipped: Reasons = ()
    changed_at: str


def request(db: Database, repository_id: int, sha: str) -> None:
    """Request that the sources of a commit are fetched, even if that failed before."""
    sql = (
        f"INSERT INTO source (repository_id, sha, state, changed_at) VALUES (?, ?, '{SourceState.WANTED}', ?)"
        f" ON CONFLICT (repository_id, sha) DO UPDATE SET state = '{SourceState.WANTED}', message = '', missing = '[]',"
        f" changed_at = excluded.changed_at WHERE state = '{SourceState.FAILED}'"
    )
    execute(db, sql, (repository_id, sha, clock.now()))


def find(db: Database, repository_id: int, sha: str) -> CommitSources | None:
    found = fetch_row(db, "SELECT * FROM source WHERE repository_id = ? AND sha = ?", (repository_id, sha))
    if found is None:
        return None
    lists = {name: tuple((path, reason) for path, reason in json.loads(found[name])) for name in ("missing", "skipped")}
    return CommitSources(**found | lists | {"state": SourceState(found["state"])})


def find_wanted(db: Database, repository_id: int) -> str | None:
    """Return a commit whose sources must be fetched, None if there is none."""
    sql = (
        f"SELECT sha FROM source WHERE repository_id = ? AND state = '{SourceState.WANTED}' ORDER BY changed_at LIMIT 1"
    )
    found = fetch_row(db, sql, (repository_id,))
    return str(found["sha"]) if found else None


def list_repositories_with_wanted(db: Database) -> list[int]:
    sql = f"SELECT DISTINCT repository_id FROM source WHERE state = '{SourceState.WANTED}'"
    return [int(found["repository_id"]) for found in fetch_rows(db, sql)]


def set_message(db: Database, repository_id: int, sha: str, message: str) -> None:
    sql = f"UPDATE source SET message = ? WHERE repository_id = ? AND sha = ? AND state = '{SourceState.WANTED}'"
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
    execute(db, sql, (SourceState.FAILED if missing else SourceState.READY, *lists, clock.now(), repository_id, sha))
