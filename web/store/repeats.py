"""Runs of a commit that one branch caused: by pushes to it, and by pull requests whose head it is."""

from __future__ import annotations

from sqlite_utils import Database

from core.model import Target
from web.store import launched
from web.store.db import Row, rows
from web.store.launched import KINDS


def by_pushes(db: Database, repository_id: int, commit_id: int, branch: str) -> dict[Target, str]:
    """Map each target to the number of its first run."""
    found = _runs(db, repository_id, commit_id, "push.kind = 'push' AND push.ref = ?", f"refs/heads/{branch}")
    return {run.target: run.number for run in map(launched.launched_items, reversed(found))}


def by_pull_requests(db: Database, repository_id: int, commit_id: int, branch: str) -> dict[Target, tuple[str, int]]:
    """Map each target to (number of its first run, number of its pull request); forks do not count."""
    condition = "pull_request.head_branch = ? AND NOT pull_request.from_fork"
    found = _runs(db, repository_id, commit_id, condition, branch)
    runs = [(launched.launched_items(item), item["number"]) for item in reversed(found)]
    return {run.target: (run.number, number) for run, number in runs}


def _runs(db: Database, repository_id: int, commit_id: int, condition: str, value: str) -> list[Row]:
    """Return the matching runs of each kind by counter."""
    found = []
    for kind, (table, *_) in KINDS.items():
        join = (
            f"JOIN push ON push.id = {table}.push_id LEFT JOIN pull_request ON pull_request.id = push.pull_request_id"
        )
        # the + keeps SQLite from using the index on the branch, which has more pushes than the commit
        sql = (
            f"{launched.launched_rows(kind, join, ', pull_request.number')} AND push.commit_id = ? AND +push.repository_id = ?"
            f" AND {condition} ORDER BY {table}.id"
        )
        found += rows(db, sql, (commit_id, repository_id, value))
    return found
