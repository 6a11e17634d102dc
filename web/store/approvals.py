"""Which commits of forks may run, which wait for it, and whose commits are trusted."""

from __future__ import annotations

from dataclasses import dataclass

from sqlite_utils import Database

from core import clock
from core.model import PullRequest
from web.store import commits, pull_requests
from web.store.commits import Push
from web.store.db import execute, row

WAITS = "waits for approval: from a fork"  # the outcome of a push
# Only the present head of a pull request that is open waits; what it was before, nobody needs any more.
WAITING = (
    " FROM push JOIN pull_request ON pull_request.id = push.pull_request_id AND pull_request.sha = push.after"
    " AND NOT pull_request.closed JOIN repository ON repository.id = pull_request.repository_id"
    f" WHERE push.outcome = '{WAITS}' AND repository.project_id = ?"
)
FROM_FORK = "push.kind = 'pull_request' AND COALESCE(pull_request.from_fork, 1)"
PUSHED = "FROM push LEFT JOIN pull_request ON pull_request.id = push.pull_request_id WHERE push.commit_id = ?"


@dataclass(frozen=True, kw_only=True)
class Approval:
    sha: str
    username: str
    created_at: str


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """A push that waits, and the pull request whose head it is."""

    push: Push
    pull_request: PullRequest


def add(db: Database, repository_id: int, sha: str, user_id: int) -> bool:
    """Let a commit run; False when it was let already."""
    sql = "INSERT INTO approval (repository_id, sha, user_id, created_at) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
    return execute(db, sql, (repository_id, sha, user_id, clock.now())) == 1


def find(db: Database, repository_id: int, sha: str) -> Approval | None:
    sql = (
        "SELECT approval.sha, user.username, approval.created_at FROM approval JOIN user ON user.id = approval.user_id"
        " WHERE approval.repository_id = ? AND approval.sha = ?"
    )
    found = row(db, sql, (repository_id, sha))
    return Approval(**found) if found else None


def waiting(db: Database, project_id: int, sha: str | None = None, *, limit: int = -1) -> list[Waiting]:
    """What waits in a project, or of one commit; the oldest first."""
    where, values = (" AND push.after = ?", [sha]) if sha is not None else ("", [])
    pushes = commits.pushes(db, f"SELECT push.*{WAITING}{where} ORDER BY push.id LIMIT ?", [project_id, *values, limit])
    requests = pull_requests.of_ids(db, {push.pull_request_id for push in pushes})
    return [Waiting(push=push, pull_request=requests[push.pull_request_id]) for push in pushes]


def count(db: Database, project_id: int) -> int:
    """How many commits of a project wait."""
    found = row(db, f"SELECT COUNT(DISTINCT push.after) AS n{WAITING}", (project_id,))
    return int(found["n"]) if found else 0


def is_trusted(db: Database, commit_id: int) -> bool:
    """Whether what a commit runs may have the project's secrets.

    Not when pull requests of forks are all that brought it, until it is approved. What was pushed by people of the
    repository, and what was uploaded to us, may.
    """
    sql = (
        f"SELECT NOT EXISTS (SELECT 1 {PUSHED} AND {FROM_FORK}) OR EXISTS (SELECT 1 {PUSHED} AND NOT ({FROM_FORK}))"
        " OR EXISTS (SELECT 1 FROM git_commit JOIN repository ON repository.project_id = git_commit.project_id"
        " JOIN approval ON approval.repository_id = repository.id AND approval.sha = git_commit.identifier"
        " WHERE git_commit.id = ?) AS trusted"
    )
    found = row(db, sql, (commit_id, commit_id, commit_id))
    return bool(found and found["trusted"])
