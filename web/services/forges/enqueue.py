"""Enqueue commits and pull requests in the outbox: those that changed since the last call, and recent ones.

`state_change` rows are followed by a cursor that is updated in the same transaction as the outbox. There is one line
for each commit and one for each pull request with a comment, due one or ten seconds after the first change. Code that
changes the state of a task or pipeline calls `enqueue_commit` in its own transaction.
"""

from __future__ import annotations

from core import clock
from web.store import comments, outbox, statuses
from web.store.db import Database, needs_transaction, transaction
from web.store.outbox import OutboxKind
from web.store.pull_requests import PullRequest
from web.store.statuses import Changed

CURSOR = "outbox"
CHANGES = 1000  # changes read in one transaction
RECENT_S = 24 * 3600.0  # older commits are not posted with a new token


def enqueue_changes(db: Database) -> None:
    """Enqueue commits with executions that changed since the last call; the very first call enqueues the last day."""
    position = outbox.find_position(db, CURSOR)
    newest = statuses.get_newest_change_id(db)
    if position is None:
        enqueue_recent(db)
        with transaction(db):
            outbox.set_position(db, CURSOR, newest)
        return
    while position < newest:
        with transaction(db):  # removing a project lowers both
            position, newest = outbox.find_position(db, CURSOR) or 0, statuses.get_newest_change_id(db)
            until = min(position + CHANGES, newest)
            for commit in statuses.list_changed(db, position, until):
                _enqueue(db, commit, at_once=not commit.unfinished)
            outbox.set_position(db, CURSOR, until)
        position = until


@needs_transaction
def enqueue_head(db: Database, request: PullRequest) -> None:
    """Enqueue a pull request's head when its need for approval may have changed."""
    if request.from_fork and request.sha:
        outbox.enqueue(db, request.repository_id, OutboxKind.STATUS, request.sha)


@needs_transaction
def enqueue_commit(db: Database, commit_id: int) -> None:
    """Enqueue a commit after a change of anything but an execution, such as its approval or a task."""
    for commit in statuses.list_in_each_repository(db, commit_id):
        _enqueue(db, commit, at_once=not commit.unfinished)


def enqueue_recent(db: Database, repository_id: int | None = None) -> None:
    """Enqueue unfinished commits and those of the last day, of one repository or all, to be compared with the forge."""
    since = clock.add_to_now(-RECENT_S)
    with transaction(db):
        for commit in statuses.list_recent(db, since, repository_id):
            _enqueue(db, commit, at_once=True)


def _enqueue(db: Database, commit: Changed, *, at_once: bool) -> None:
    outbox.enqueue(db, commit.repository_id, OutboxKind.STATUS, commit.sha, at_once=at_once)
    for number in comments.list_pull_request_numbers(db, commit.repository_id, commit.sha):
        outbox.enqueue(db, commit.repository_id, OutboxKind.COMMENT, str(number))
