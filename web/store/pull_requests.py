"""Pull requests, as reported by forges."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlite_utils import Database

from core.errors import NotFound
from core.model import PullRequestEvent
from web.store.db import Row, execute, fetch_row, fetch_rows, insert, needs_transaction

CHANGE = """
    UPDATE pull_request SET title = ?, author = COALESCE(NULLIF(?, ''), author), url = ?, head_branch = ?, base_branch = ?,
        from_fork = MAX(from_fork, ?), fetch_url = ?, closed = 0, changed_at = ? WHERE id = ? AND changed_at <= ?
"""
CLOSE = "UPDATE pull_request SET title = ?, closed = 1, changed_at = ? WHERE id = ? AND changed_at <= ?"


@dataclass(frozen=True, kw_only=True)
class PullRequest:
    """A stored pull request; `sha` is its head. `comment_id` is the forge's id of our comment, "" without one.

    `fetch_url` is the fork's URL if the repository has no ref for the head.
    """

    id: int
    repository_id: int
    number: int
    sha: str
    title: str
    author: str
    url: str
    head_branch: str
    base_branch: str
    from_fork: bool
    closed: bool
    comment_id: str
    changed_at: str
    fetch_url: str = ""


@needs_transaction
def save(db: Database, repository_id: int, event: PullRequestEvent, sha: str, at: str) -> PullRequest:
    """Create or update a pull request from an event received at `at`.

    The head of a known one is not changed (see `set_head`). An event received before the last applied one changes
    nothing. A pull request that once came from a fork stays one from a fork.
    """
    known = find(db, repository_id, event.number)
    if known is None:
        return get(db, _add(db, repository_id, event, sha, at))
    if event.closed:
        execute(db, CLOSE, (event.title, at, known.id, at))
    else:
        said = (event.title, event.author, event.url, event.head_branch, event.base_branch)
        execute(db, CHANGE, (*said, int(event.from_fork), event.fetch_url, at, known.id, at))
    return get(db, known.id)


def set_head(db: Database, pull_request_id: int, sha: str) -> None:
    execute(db, "UPDATE pull_request SET sha = ? WHERE id = ?", (sha, pull_request_id))


def get(db: Database, pull_request_id: int) -> PullRequest:
    found = fetch_row(db, "SELECT * FROM pull_request WHERE id = ?", (pull_request_id,))
    if found is None:
        raise NotFound(f"there is no pull request {pull_request_id}")
    return _pull_request(found)


def find(db: Database, repository_id: int, number: int) -> PullRequest | None:
    sql = "SELECT * FROM pull_request WHERE repository_id = ? AND number = ?"
    found = fetch_row(db, sql, (repository_id, number))
    return _pull_request(found) if found else None


def get_many(db: Database, ids: Collection[int | None]) -> dict[int | None, PullRequest]:
    marks = ", ".join("?" * len(ids))
    found = fetch_rows(db, f"SELECT * FROM pull_request WHERE id IN ({marks})", list(ids))
    return {item["id"]: _pull_request(item) for item in found}


def list_pull_requests(db: Database, commit_id: int) -> list[PullRequest]:
    """List the pull requests whose head the commit is or was, newest first."""
    sql = (
        "SELECT * FROM pull_request WHERE id IN (SELECT pull_request_id FROM push WHERE commit_id = ?) ORDER BY id DESC"
    )
    return [_pull_request(found) for found in fetch_rows(db, sql, (commit_id,))]


def _add(db: Database, repository_id: int, event: PullRequestEvent, sha: str, at: str) -> int:
    values = {
        "repository_id": repository_id, "number": event.number, "sha": sha, "title": event.title, "author": event.author,
        "url": event.url, "head_branch": event.head_branch, "base_branch": event.base_branch,
        "from_fork": int(event.from_fork), "fetch_url": event.fetch_url, "closed": int(event.closed), "changed_at": at,
    }  # fmt: skip
    return insert(db, "pull_request", values)


def _pull_request(found: Row) -> PullRequest:
    values = {name: found[name] for name in PullRequest.__dataclass_fields__}
    return PullRequest(**values | {name: bool(found[name]) for name in ("from_fork", "closed")})
