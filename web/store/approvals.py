"""Approvals of commits from forks, and pushes that wait for approval.

Trust belongs to a commit, not to an execution: `web.store.commits.TRUSTED` checks whether the commit was approved, or
came from anything other than pull requests from forks. It is checked at each claim, when an output is used as an input,
and in the list of commits for clients, so that no way to start an execution can bypass it. A doubtful origin
(`hooks.forges.payload`) counts as a fork, and a pull request that once came from a fork always does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlite_utils import Database

from core import clock
from web.store import pull_requests, pushes
from web.store.db import execute, fetch_row, fetch_rows
from web.store.pull_requests import PullRequest
from web.store.pushes import Push, PushResult

WAITS = "waiting for approval: from a fork"  # the outcome of a push whose result is "waiting"
# Only the current head of an open pull request waits: earlier heads are obsolete.
WAITING = (
    " FROM push JOIN pull_request ON pull_request.id = push.pull_request_id AND pull_request.sha = push.after"
    " AND NOT pull_request.closed JOIN repository ON repository.id = pull_request.repository_id"
    f" WHERE push.result = '{PushResult.WAITING}'"
)


@dataclass(frozen=True, kw_only=True)
class Approval:
    sha: str
    username: str
    created_at: str


@dataclass(frozen=True, kw_only=True)
class WaitingPush:
    """A push that waits for approval, and the pull request whose head it is."""

    push: Push
    pull_request: PullRequest


def add(db: Database, repository_id: int, sha: str, user_id: int) -> bool:
    """Approve a commit; return False if it was already approved."""
    sql = "INSERT INTO approval (repository_id, sha, user_id, created_at) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
    return execute(db, sql, (repository_id, sha, user_id, clock.now())) == 1


def find(db: Database, repository_id: int, sha: str) -> Approval | None:
    sql = (
        "SELECT approval.sha, user.username, approval.created_at FROM approval JOIN user ON user.id = approval.user_id"
        " WHERE approval.repository_id = ? AND approval.sha = ?"
    )
    found = fetch_row(db, sql, (repository_id, sha))
    return Approval(**found) if found else None


def list_waiting(db: Database, project_id: int, sha: str | None = None, *, limit: int = -1) -> list[WaitingPush]:
    """List the pushes of a project, or of one commit, that wait for approval, oldest first."""
    where, values = (" AND push.after = ?", [sha]) if sha is not None else ("", [])
    recorded = pushes.select(
        db,
        f"SELECT push.*{WAITING} AND repository.project_id = ?{where} ORDER BY push.id LIMIT ?",
        [project_id, *values, limit],
    )
    requests = pull_requests.get_many(db, {push.pull_request_id for push in recorded})
    return [WaitingPush(push=push, pull_request=requests[push.pull_request_id]) for push in recorded]


def filter_waiting(db: Database, push_ids: Sequence[int]) -> set[int]:
    """Return the ids of the given pushes that still wait for approval."""
    found = fetch_rows(db, f"SELECT push.id{WAITING} AND push.id IN ({', '.join('?' * len(push_ids))})", list(push_ids))
    return {item["id"] for item in found}


def count_by_project(db: Database) -> dict[int, int]:
    """Return how many commits wait for approval, by project id."""
    found = fetch_rows(db, f"SELECT project_id, COUNT(DISTINCT push.after) AS n{WAITING} GROUP BY project_id")
    return {item["project_id"]: item["n"] for item in found}
