"""The only job of the server's queue, without arguments: a sweep, which handles everything that is waiting.

The sweep runs every two seconds, whether or not Redis nudges it, and finds all waiting work: stored deliveries, push
files of hosted repositories, remotes that are due to be polled, executions that were not placed or not claimed,
expired leases.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress

from redis.exceptions import RedisError

from core.config import Config
from web.services import disk, pipelines, reruns, tasks
from web.services.context import Context, open_context
from web.services.deliveries import ingest
from web.services.executions import lifecycle
from web.services.forges import members
from web.services.forges.publisher import Publisher
from web.services.repositories import adhoc
from web.services.repositories.keyed_threads import Threads
from web.services.repositories.polling import Poller
from web.services.repositories.sources import fetch_wanted
from web.services.runners import redis_users
from web.services.scheduling import dispatch
from web.services.scheduling.queues import Queues
from web.services.triggers import schedule
from web.services.vault import Vault
from web.store import audit, deliveries, member_sources, metadata, projects, sources
from web.store.db import Database, checkpoint, connect, transaction

logger = logging.getLogger(__name__)

AUDIT_S = 3600.0  # pruning reads the whole index
CHECKPOINT_S = 1.0  # copying much at once blocks the disk, and with it all writers
FETCHES = 4  # concurrent fetches from remotes, and as many concurrent polls
INGESTS = 4  # most repositories hosted here whose pushes are ingested at the same time
RETURN_S = 15.0  # after a start, runners have this long to extend the leases that expired while the server was down
TIDY_S = 3600.0  # pause between two searches for old ad-hoc code
TURN_S = 5.0  # time for ingesting one repository while others wait for its thread


class Sweeper:
    """Handles waiting work, one sweep at a time. A slow remote or configuration delays only its own repository."""

    def __init__(self, config: Config, vault: Vault, queues: Queues) -> None:
        self._context = Context(db=connect(config.database), config=config, vault=vault)
        self._queues = queues
        self._lock = threading.Lock()
        self._poller = Poller()
        self._fetching, self._polling = Threads(FETCHES), Threads(FETCHES)
        self._ingesting, self._preparing = Threads(INGESTS), Threads(FETCHES)
        self._tidying, self._tidy_at = Threads(1), 0.0
        self._refreshing = Threads(FETCHES)
        self._teller = Publisher(config, vault)
        self._checkpoint_at = self._audit_at = 0.0
        self._started_at = time.monotonic()
        self._has_metadata_rows = True

    def sweep(self) -> None:
        """Ingest, recover, advance tasks and pipelines, dispatch executions. A failing part does not stop the others.

        Raises nothing.
        """
        with self._lock:
            context, queues = self._context, self._queues
            db, config = context.db, context.config
            _try(queues.nudged)
            _try(lambda: _restore_users(db, queues))
            _try(lambda: ingest.collect_push_files(context))
            _try(lambda: schedule.store_due(db))
            _try(lambda: self._ingest())
            _try(lambda: self._poll())
            _try(lambda: self._fetch_sources())
            _try(lambda: self._recover())
            _try(lambda: reruns.restart_lost(context))
            _try(lambda: self._advance())
            _try(lambda: dispatch.hand_over_again(db, queues))
            _try(lambda: dispatch.dispatch(context, queues))
            _try(lambda: deliveries.prune(db, config.limits.deliveries))
            _try(lambda: self._tidy())
            _try(lambda: self._refresh_members())
            _try(lambda: self._prune_audit())
            _try(lambda: self._move_metadata())
            _try(lambda: self._teller.tick(db))
            _try(lambda: self._checkpoint())

    def close(self) -> None:
        """Wait for running work."""
        self._fetching.join()
        self._polling.join()
        self._ingesting.join()
        self._preparing.join()
        self._tidying.join()
        self._refreshing.join()
        self._teller.close()
        with self._lock:
            self._context.db.close()

    def _recover(self) -> None:
        """Recover executions with expired leases, once runners have had time to extend them after a start."""
        if time.monotonic() >= self._started_at + RETURN_S:
            lifecycle.recover(self._context)

    def _advance(self) -> None:
        """Advance tasks, then pipelines, which may wait for tasks. Sweep again at once for new or large tasks."""
        if tasks.advance(self._context) | pipelines.advance(self._context):
            self._queues.nudge()

    def _checkpoint(self) -> None:
        """Checkpoint the database, at most every CHECKPOINT_S: each time flushes the disk's caches."""
        if time.monotonic() >= self._checkpoint_at:
            self._checkpoint_at = time.monotonic() + CHECKPOINT_S
            checkpoint(self._context.db)

    def _prune_audit(self) -> None:
        if time.monotonic() >= self._audit_at:
            self._audit_at = time.monotonic() + AUDIT_S
            limits = self._context.config.limits
            audit.prune(self._context.db, limits.audit, limits.audit_entries)

    def _move_metadata(self) -> None:
        """Move some metadata of an older release into chunks, until there is none."""
        if self._has_metadata_rows:
            with transaction(self._context.db):
                self._has_metadata_rows = metadata.move_some_rows(self._context.db)

    def _ingest(self) -> None:
        """Ingest on other threads, some for each kind: remotes may be slow, as may strangers' valohai.yaml."""
        db = self._context.db
        waiting = deliveries.list_due_repositories(db)
        hosted = {number for number in waiting if projects.get_repository(db, number).forge == projects.HOSTED}
        self._ingesting.take_turns([number for number in waiting if number in hosted], self._handle)
        if not disk.explain_shortage(self._context.config):  # fetched data is stored
            self._fetching.take_turns([number for number in waiting if number not in hosted], self._handle)

    def _handle(self, repository_id: int) -> None:
        """Ingest one repository's deliveries. It may be killed at any time; unfinished deliveries are handled again."""
        with self._own_context() as context:
            _try(lambda: ingest.ingest_repository(context, repository_id, time.monotonic() + TURN_S))
            _try(lambda: dispatch.dispatch(context, self._queues))
        self._queues.nudge()  # another repository may wait for this thread

    def _poll(self) -> None:
        """Poll on other threads: a remote may take long to answer."""
        for repository_id in self._poller.due(self._context):
            self._polling.start(repository_id, self._ask)

    def _fetch_sources(self) -> None:
        """Fetch the sources that executions wait for, on other threads: Git LFS objects may be large."""
        if not disk.explain_shortage(self._context.config):
            self._preparing.take_turns(sources.list_repositories_with_wanted(self._context.db), self._prepare)

    def _prepare(self, repository_id: int) -> None:
        with self._own_context() as context:
            _try(lambda: fetch_wanted(context, repository_id))

    def _tidy(self) -> None:
        """Prune ad-hoc code on another thread: git may take long."""

        def prune(_: int) -> None:
            with self._own_context() as context:
                _try(lambda: adhoc.prune(context))

        if time.monotonic() >= self._tidy_at and self._tidying.start(0, prune):
            self._tidy_at = time.monotonic() + TIDY_S

    def _refresh_members(self) -> None:
        """Ask forges for members of projects, on other threads."""

        def refresh(project_id: int) -> None:
            with self._own_context() as context:
                _try(lambda: members.refresh(context, project_id))

        self._refreshing.take_turns(member_sources.list_due_projects(self._context.db), refresh)

    def _ask(self, repository_id: int) -> None:
        def ask() -> None:
            if self._poller.poll(context, repository_id):
                self._queues.nudge()

        with self._own_context() as context:
            _try(ask)

    def _own_context(self) -> AbstractContextManager[Context]:
        """Return a context with a database connection for another thread."""
        return open_context(self._context.config, self._context.vault)


# RQ calls jobs by name with only what is in Redis, so the sweeper is a global here.
_sweeper: Sweeper | None = None


def install(sweeper: Sweeper) -> None:
    """Set the sweeper that `sweep` uses; called once, before the first job."""
    global _sweeper
    _sweeper = sweeper


def sweep() -> None:
    """Run one sweep: the job that `Queues.nudge` enqueues."""
    assert _sweeper is not None, "install() comes first"  # noqa: S101
    _sweeper.sweep()


def _restore_users(db: Database, queues: Queues) -> None:
    """Restore the users in Redis. Errors are ignored: the worker reports that Redis is unavailable."""
    with suppress(RedisError):
        redis_users.restore(db, queues.connection)


def _try(part: Callable[[], object]) -> None:
    try:
        part()
    except Exception:
        logger.exception("a part of the sweep failed; it is tried again with the next one")
