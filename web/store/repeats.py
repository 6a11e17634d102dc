"""What runs of a commit because of one branch: of pushes to it, and of pull requests whose head it is."""

from __future__ import annotations

from sqlite_utils import Database

from web.store.db import rows

RUNS = (
    "SELECT execution.step, MIN(execution.counter) AS counter, pull_request.number FROM push"
    " JOIN execution ON execution.push_id = push.id LEFT JOIN pull_request ON pull_request.id = push.pull_request_id"
    " WHERE push.commit_id = ? AND push.repository_id = ?"
)


def by_pushes(db: Database, repository_id: int, commit_id: int, branch: str) -> dict[str, int]:
    """By step: the number of its first execution."""
    sql = f"{RUNS} AND push.kind = 'push' AND push.ref = ? GROUP BY execution.step"
    found = rows(db, sql, (commit_id, repository_id, f"refs/heads/{branch}"))
    return {item["step"]: item["counter"] for item in found}


def by_pull_requests(db: Database, repository_id: int, commit_id: int, branch: str) -> dict[str, tuple[int, int]]:
    """By step: the number of its first execution and that of its pull request, which is none of a fork."""
    sql = f"{RUNS} AND pull_request.head_branch = ? AND NOT pull_request.from_fork GROUP BY execution.step"
    found = rows(db, sql, (commit_id, repository_id, branch))
    return {item["step"]: (item["counter"], item["number"]) for item in found}
