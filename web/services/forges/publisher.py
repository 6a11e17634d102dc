"""Publish commit statuses and pull request comments to forges. May be killed anywhere: due lines are compared again.

1. Code that changes something enqueues a line; a cursor follows state changes, in the same transaction as the lines.
2. For a due line, the statuses are computed from the database and compared with those posted before. The differences
   are posted one after the other, so no older state follows a newer one.
3. Failures are retried with growing pauses for a day, at least five times; then the line is given up and shown in the
   settings.

A change during a call raises the line's version, which makes it due again. Each repository has its own thread in the
worker, so its first status is answered before another is posted (otherwise GitLab creates two pipelines), and a forge
that hangs does not delay other repositories.

`Later` pauses the line, and the repository for as long as the forge asks. `Refused` is a problem of that status only,
but 401 and 403 stop the repository until a person fixes the token.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable

from core import clock
from core.config import Config
from core.errors import PushmillError
from core.model import Repository
from hooks.apis.client import Later
from web.services.context import Context, open_context
from web.services.forges import comments, enqueue, statuses
from web.services.forges.statuses import ForgeSession, PublishProgress
from web.services.repositories import credentials
from web.services.repositories.credentials import Access
from web.services.repositories.keyed_threads import Threads
from web.services.vault import Vault
from web.store import audit, outbox, projects
from web.store import forge_access as stored_access
from web.store import statuses as stored
from web.store.audit import Act, Kind
from web.store.db import Database, transaction
from web.store.outbox import OutboxKind, OutboxLine

logger = logging.getLogger(__name__)

FIRST_PAUSE_S = 2.0
LONGEST_PAUSE_S = 600.0
REPOSITORY_PAUSE_S = 60.0  # longest pause after a failure that may not affect other lines
GIVEN_UP_S = 24 * 3600.0
LEAST_ATTEMPTS = 5  # also after a server that was off for a day has started again
THREADS = 32  # most repositories published at once; a forge that hangs occupies its thread for a while


class Publisher:
    """Publishes due lines, each repository in its own thread, so that a slow forge delays only its own repositories."""

    def __init__(self, config: Config, vault: Vault) -> None:
        self._config, self._vault = config, vault
        self._threads = Threads(THREADS)
        self._over = threading.Event()
        self._compared = False

    def tick(self, db: Database) -> None:
        """Enqueue changes and start publishing due lines. Does not wait for forges."""
        if not self._compared:  # the previous worker may have been killed
            enqueue.enqueue_recent(db)
            self._compared = True
        enqueue.enqueue_changes(db)
        due = outbox.list_due_repositories(db)
        if due and not self._config.server.url:
            outbox.drop_due(db)  # a status would have no address to link to
            return
        for repository_id in due:
            self._threads.start(repository_id, self._work)

    def close(self) -> None:
        """Wait for running calls."""
        self._over.set()
        self._threads.join()

    def _work(self, repository_id: int) -> None:
        try:
            with open_context(self._config, self._vault) as context:
                publish_repository(context, repository_id, self._over.is_set)
        except Exception:
            logger.exception("repository=%d: posting to its forge is retried", repository_id)


def retry_now(db: Database, repository: Repository) -> None:
    """Resume publishing after a person fixed a problem, and retry refused statuses and failed lines."""
    if not repository.has_token:
        return
    with transaction(db):
        stored_access.resume_posting(db, repository.id)
        audit.record(db, Act.CHANGE, Kind.SETTINGS, "reports", repository.project_id, "retry now")
        for line in outbox.list_failing(db, repository.id):
            outbox.retry_now(db, line)
        for status in stored.list_refused(db, repository.id):
            stored.forget(db, repository.id, status.sha, status.context)
            outbox.enqueue(db, repository.id, OutboxKind.STATUS, status.sha, at_once=True)
    enqueue.enqueue_recent(db, repository.id)


def publish_repository(context: Context, repository_id: int, over: Callable[[], bool]) -> None:
    """Publish all due lines of a repository, until it must pause."""
    db = context.db
    if repository_id not in outbox.list_due_repositories(db):
        return  # another thread has found a reason to pause since this one was requested
    repository = projects.get_repository(db, repository_id)
    try:
        access = credentials.load_access(context, repository)
        if access is None or not access.url:
            raise PushmillError(
                "the address of its forge's API is unknown: set it with `pushmill project set-token --api-url`"
            )
        with access.client() as client:
            session = ForgeSession(context=context, repository=repository, access=access, client=client)
            while not over() and (line := outbox.find_next_due(db, repository_id)):
                if not _settle(db, access, line, _publish_line(session, line)):
                    return
    except PushmillError as error:
        stored_access.stop_posting(db, repository_id, stored_access.find_token(db, repository_id) or b"", str(error))


def _publish_line(session: ForgeSession, line: OutboxLine) -> PublishProgress:
    """Publish one line. Raises PushmillError if no line of the repository can be published."""
    try:
        if line.kind is OutboxKind.COMMENT:
            return comments.publish_comment(session, line)
        return statuses.publish_statuses(session, line)
    except PushmillError:
        raise
    except Exception as error:
        logger.exception("repository=%d %s=%s cannot be posted", line.repository_id, line.kind, line.subject)
        return PublishProgress(later=Later(reason=f"internal error, see the worker's log: {type(error).__name__}"))


def _settle(db: Database, access: Access, line: OutboxLine, progress: PublishProgress) -> bool:
    """Record the result of a line. Returns False if the repository must pause."""
    with transaction(db):
        if progress.stop:
            logger.warning("repository=%d: posting to its forge stops: %s", line.repository_id, progress.stop)
            stored_access.stop_posting(db, line.repository_id, access.stored, progress.stop)
        elif progress.later is not None:
            _postpone(db, line, progress.later, progress.pipeline)
        else:
            outbox.mark_posted(db, line, problem=progress.problem, pipeline=progress.pipeline)
            return True
    return False


def _postpone(db: Database, line: OutboxLine, later: Later, pipeline: str) -> None:
    """Postpone a line with growing pauses, and its repository briefly; both as long as the forge asks, if it does."""
    wait_s = later.wait_s
    if wait_s is None:
        wait_s = min(FIRST_PAUSE_S * 2 ** min(line.attempts, 20), LONGEST_PAUSE_S) * random.uniform(0.75, 1.25)  # noqa: S311
    until = clock.add_to_now(wait_s if later.wait_s is not None else min(wait_s, REPOSITORY_PAUSE_S))
    stored_access.pause_posting(db, line.repository_id, until)
    is_old = clock.count_seconds_between(line.since or clock.now(), clock.now()) >= GIVEN_UP_S
    if is_old and line.attempts + 1 >= LEAST_ATTEMPTS:
        outbox.give_up(db, line, f"given up after a day: {later.reason}")
        logger.warning("repository=%d %s=%s given up: %s", line.repository_id, line.kind, line.subject, later.reason)
    else:
        outbox.postpone(db, line, wait_s, later.reason, pipeline)
