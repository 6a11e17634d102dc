"""Marks what forges must be told: what changed since the last time, and what happened lately.

`state_change` rows are followed by a cursor that is updated in the same transaction as the outbox: one line for each
commit, one for each pull request with a comment, due a second or ten after the first change. Code that changes the
state of a task or pipeline calls `mark_commit` in its own transaction. No other module knows of forges.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from core import clock
from core.model import Commit, Project, PullRequest, Repository
from web.store import comments, outbox, statuses
from web.store.db import Database, transaction
from web.store.outbox import Kind
from web.store.statuses import Changed

CURSOR = "outbox"
CHANGES = 1000  # that are followed in one transaction
RECENT_S = 24 * 3600.0  # what is older is not told with a new token


def follow(db: Database) -> None:
    """Mark the commits of which an execution changed since the last call; the first one ever begins with the last day."""
    position = outbox.position(db, CURSOR)
    newest = statuses.newest_change(db)
    if position is None:
        mark_recent(db)
        with transaction(db):
            outbox.set_position(db, CURSOR, newest)
        return
    while position < newest:
        with transaction(db):  # the removal of a project lowers both
            position, newest = outbox.position(db, CURSOR) or 0, statuses.newest_change(db)
            until = min(position + CHANGES, newest)
            for commit in statuses.changed(db, position, until):
                _mark(db, commit, at_once=not commit.unfinished)
            outbox.set_position(db, CURSOR, until)
        position = until


def mark_event(
    db: Database, project: Project, repository: Repository, commit: Commit, request: PullRequest | None
) -> None:
    """An event brought this commit, as the head of a pull request or not. Call inside a transaction."""
    outbox.mark(db, repository.id, Kind.STATUS, commit.identifier)
    if request is not None and project.comments:
        outbox.mark(db, repository.id, Kind.COMMENT, str(request.number))


def mark_head(db: Database, request: PullRequest) -> None:
    """Whether the head of a pull request can still be approved may have changed. Call inside a transaction."""
    if request.from_fork and request.sha:
        outbox.mark(db, request.repository_id, Kind.STATUS, request.sha)


def mark_commit(db: Database, commit_id: int) -> None:
    """Something of this commit changed that is no execution. Call inside a transaction."""
    for commit in statuses.brought(db, commit_id):
        _mark(db, commit, at_once=not commit.unfinished)


def mark_recent(db: Database, repository_id: int | None = None) -> None:
    """Mark what runs and the commits of the last day, of one repository or of all, to be compared with the forge."""
    since = clock.text(datetime.now(UTC) - timedelta(seconds=RECENT_S))
    with transaction(db):
        for commit in statuses.recent(db, since, repository_id):
            _mark(db, commit, at_once=True)


def _mark(db: Database, commit: Changed, *, at_once: bool) -> None:
    outbox.mark(db, commit.repository_id, Kind.STATUS, commit.sha, at_once=at_once)
    for number in comments.numbers_of(db, commit.repository_id, commit.sha):
        outbox.mark(db, commit.repository_id, Kind.COMMENT, str(number))
