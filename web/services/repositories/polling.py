"""Poll the refs of remote repositories: those without a webhook, and the others as a safety net.

The answer is compared with the recorded pushes; differences become a stored delivery. It only names the refs:
ingesting it records where they point at that time.

Each due repository is polled with `git ls-remote` in a thread, at most four at once. The difference to
`pushes.map_commits_by_ref` becomes one delivery of source `poll` in the format of our own hook. Its id is a hash of the ref
updates and of the last recorded push, so that it is stored once.

The first poll writes push rows without a delivery and runs nothing. These rows do not make an event known, because a
webhook may be on its way. Where webhooks arrive, a difference is reported by the second poll, after `[git]
poll_grace`. A webhook that arrives even later runs nothing again: an event is known if it ends where its ref's last
push left the ref, or if it begins elsewhere while the ref is still where polling reported it (there may be several
pushes between two polls).

Due times, durations of failures and observed differences are kept in memory only: each start polls all repositories,
four at once, and losing the rest only causes a delay. A remote that cannot be fetched is not fetched before
`repository.fetch_retry_at`, whatever the times of its deliveries.
"""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from core import git
from core.errors import GitError
from core.model import PushEvent, Repository
from web.services.context import Context
from web.services.repositories import ref_updates, remotes
from web.store import deliveries, projects, pushes
from web.store.db import transaction
from web.store.deliveries import OwnSource

LONGEST_WAIT_S = 3600.0  # between two polls of a remote that does not answer
LOOK_LIMIT_S = 20.0  # while somebody waits
SPREAD = 0.2  # of the interval: offsets differ by repository, so that not all are polled at once
GOLDEN = 0.6180339887
FOUND = "existed when the project was added"
Moved = Mapping[str, tuple[str, str]]


class Poller:
    """Decides when each repository is polled next.

    This state is lost with the process, so each start polls every repository at once: pushes made while the server was
    down were reported to no one.
    """

    def __init__(self) -> None:
        self._next: dict[int, float] = {}
        self._failures: dict[int, int] = {}
        self._seen: dict[int, dict[tuple[str, str], float]] = {}

    def due(self, context: Context) -> list[int]:
        """Return the repositories that are due, the most overdue first; on the first call all of them.

        With more remotes than can be polled in their interval, another order would starve those at its end.
        """
        now, due = time.monotonic(), []
        for repository in projects.list_remote_repositories(context.db):
            wait = get_interval(context, repository)
            if wait and self._next.get(repository.id, now) <= now:
                due.append(repository.id)
        return sorted(due, key=lambda repository_id: self._next.get(repository_id, 0.0))

    def poll(self, context: Context, repository_id: int) -> bool:
        """Poll one repository; return whether there is a new delivery. An error of git becomes its `fetch_problem`."""
        repository = projects.get_repository(context.db, repository_id)
        failures = self._failures.get(repository_id, 0) + 1
        self._failures[repository_id] = failures  # counts as failed until it succeeds, whatever is raised
        self._plan(context, repository)
        try:
            there = remotes.list_refs(context, repository)
        except GitError as error:
            projects.set_fetch_problem(context.db, repository_id, str(error))
            return False
        told = self._compare(context, repository, there)
        del self._failures[repository_id]
        self._plan(context, repository)
        return told

    def _plan(self, context: Context, repository: Repository) -> None:
        """Plan the next poll; if differences wait for webhooks, as soon as `[git] poll_grace` has passed."""
        now, usual = time.monotonic(), get_interval(context, repository)
        failures, seen = self._failures.get(repository.id, 0), self._seen.get(repository.id, {})
        wait = min(usual * 2.0**failures, max(usual, LONGEST_WAIT_S)) * (1 + _share(repository.id))
        if seen and not failures:
            wait = min(wait, max(0.0, min(seen.values()) + context.config.git.poll_grace - now))
        self._next[repository.id] = now + wait

    def _compare(self, context: Context, repository: Repository, there: Mapping[str, tuple[str, ...]]) -> bool:
        if repository.polled_at is None:
            with transaction(context.db):
                recorded = pushes.map_commits_by_ref(
                    context.db, repository.id
                )  # inside: a push may be recorded concurrently
                found = {ref: names[-1] for ref, names in there.items() if ref not in recorded}
                pushes.add_found(context.db, repository.id, found, FOUND)
                projects.set_polled(context.db, repository.id)
            return False
        recorded = pushes.map_commits_by_ref(context.db, repository.id)
        moved = self._reportable(context, repository, ref_updates.compare_refs(recorded, there))
        new, told = False, dict(itertools.islice(moved.items(), git.MAX_REFS))  # the others still differ next time
        if told:
            _, new = ref_updates.store_ref_updates(
                context.db,
                repository,
                OwnSource.POLL,
                _name(pushes.get_newest_update_id(context.db, repository.id), told),
                told,
            )
        projects.set_polled(context.db, repository.id)
        return new

    def _reportable(self, context: Context, repository: Repository, moved: Moved) -> Moved:
        """Return the ref updates to report now: with webhooks, only those unchanged for `[git] poll_grace`."""
        if not deliveries.has_webhooks(context.db, repository.id):
            self._seen.pop(repository.id, None)
            return moved
        now, before = time.monotonic(), self._seen.get(repository.id, {})
        seen = {(ref, after): before.get((ref, after), now) for ref, (_, after) in moved.items()}
        ripe = {ref: move for ref, move in moved.items() if now - seen[ref, move[1]] >= context.config.git.poll_grace}
        self._seen[repository.id] = {key: since for key, since in seen.items() if key[0] not in ripe}
        return ripe


def look_now(context: Context, repository: Repository) -> tuple[int, Moved]:
    """Poll a remote at once, without waiting for webhooks; return the delivery with its ref updates, 0 if none moved.

    Raises GitError. Before the first poll everything there counts as known.
    """
    if repository.polled_at is None:
        return 0, {}
    there = remotes.list_refs(context, repository, time_limit_s=LOOK_LIMIT_S)
    moved = ref_updates.compare_refs(pushes.map_commits_by_ref(context.db, repository.id), there)
    told = dict(itertools.islice(moved.items(), git.MAX_REFS))
    if not told:
        return 0, {}
    name = _name(pushes.get_newest_update_id(context.db, repository.id), told)
    return ref_updates.store_ref_updates(context.db, repository, OwnSource.POLL, name, told)[0], told


def get_interval(context: Context, repository: Repository) -> float:
    """Return the seconds between two polls of a remote repository; 0 if it is never polled."""
    settings = context.config.git
    return settings.poll_webhooks if deliveries.has_webhooks(context.db, repository.id) else settings.poll


def update_event(path: Path, event: PushEvent) -> PushEvent:
    """Return an event found by polling, updated to where its ref points in the mirror that was just fetched."""
    now = git.resolve(path, event.ref)
    if now is None and event.ref in git.list_refs(path):
        return event  # a tag of an object that is not a commit
    return replace(event, after=now or "0" * len(event.before))


def _name(last: int, moved: Moved) -> str:
    """Return a delivery id: the same for the same ref updates since push `last`, so that they are reported once."""
    lines = [f"{ref} {before} {after}" for ref, (before, after) in moved.items()]
    return "poll-" + hashlib.sha256("\n".join([str(last), *lines]).encode()).hexdigest()[:40]


def _share(repository_id: int) -> float:
    """Return a fraction of SPREAD that differs as much as possible between consecutive ids."""
    return SPREAD * (repository_id * GOLDEN % 1)
