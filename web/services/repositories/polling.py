"""Repositories that lie elsewhere are asked where their refs are: those of which no webhook tells, and others as a net.

What a remote answers is compared with the pushes that were recorded; what differs becomes a stored delivery. It says only
that the refs are to be looked at: ingesting it records where they are then.

Each due repository is asked with `git ls-remote` in a thread, four at most. The difference to `commits.last_pushes`
becomes one delivery of source `poll`, in the form of our own hook, named by a hash of the ref updates and of the last
recorded push, so that it is stored once.

The first look writes push rows without a delivery and runs nothing. These rows do not make an event known, because a
webhook may be on its way. Where webhooks arrive, a difference is reported at the second look, after `[git]
poll_grace`. A webhook that arrives still later runs nothing again: an event that ends where its ref's last push left
the ref is known, and so is one that begins elsewhere while the ref is still where polling reported it (several pushes
may lie between two looks).

When a repository is due, how long its remote has failed and what was seen are kept in memory only: each start asks
all repositories, four at once, and losing the rest only delays. A remote that cannot be fetched is not fetched before
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
from core.config import Config
from core.errors import GitError
from core.model import PushEvent, Repository
from web.services.repositories import ref_updates, remotes
from web.services.vault import Vault
from web.store import commits, deliveries, projects
from web.store.db import Database, transaction
from web.store.deliveries import POLL

LONGEST_WAIT_S = 3600.0  # between two questions to a remote that does not answer
SPREAD = 0.2  # of the interval: each repository has a rhythm of its own, so that not all are asked at once
GOLDEN = 0.6180339887
FOUND = "was there when the project was added"
Moved = Mapping[str, tuple[str, str]]


class Poller:
    """Knows when each repository is to be asked next.

    That is lost with its process, so each start asks every repository at once: pushes that were made while nothing ran here
    were told to nobody.
    """

    def __init__(self, config: Config, vault: Vault) -> None:
        self._config, self._vault = config, vault
        self._next: dict[int, float] = {}
        self._failures: dict[int, int] = {}
        self._seen: dict[int, dict[tuple[str, str], float]] = {}

    def due(self, db: Database) -> list[int]:
        """The repositories whose time has come: at first all of them."""
        now, due = time.monotonic(), []
        for repository in projects.fetched_from_elsewhere(db):
            wait = interval(db, self._config, repository)
            if wait and self._next.get(repository.id, now) <= now:
                due.append(repository.id)
        return due

    def poll(self, db: Database, repository_id: int) -> bool:
        """Ask one repository; whether there is a new delivery. What git says against it becomes its `fetch_problem`."""
        repository = projects.repository(db, repository_id)
        failures = self._failures.get(repository_id, 0) + 1
        self._failures[repository_id] = failures  # until it is known better, whatever is raised
        self._plan(db, repository)
        try:
            there = remotes.refs(db, self._config, self._vault, repository)
        except GitError as error:
            projects.set_fetch_problem(db, repository_id, str(error))
            return False
        told = self._compare(db, repository, there)
        del self._failures[repository_id]
        self._plan(db, repository)
        return told

    def _plan(self, db: Database, repository: Repository) -> None:
        """What differed and was not acted upon is looked at again as soon as webhooks have had their time to come."""
        now, usual = time.monotonic(), interval(db, self._config, repository)
        failures, seen = self._failures.get(repository.id, 0), self._seen.get(repository.id, {})
        wait = min(usual * 2.0**failures, max(usual, LONGEST_WAIT_S)) * (1 + _share(repository.id))
        if seen and not failures:
            wait = min(wait, max(0.0, min(seen.values()) + self._config.git.poll_grace - now))
        self._next[repository.id] = now + wait

    def _compare(self, db: Database, repository: Repository, there: Mapping[str, tuple[str, ...]]) -> bool:
        if repository.polled_at is None:
            with transaction(db):
                recorded = commits.last_pushes(db, repository.id)  # a push may be recorded at this moment
                found = {ref: names[-1] for ref, names in there.items() if ref not in recorded}
                commits.add_found(db, repository.id, found, FOUND)
                projects.set_polled(db, repository.id)
            return False
        moved = self._ripe(db, repository, ref_updates.between(commits.last_pushes(db, repository.id), there))
        new, told = False, dict(itertools.islice(moved.items(), git.MAX_REFS))  # the others differ next time too
        if told:
            _, new = ref_updates.store(db, repository, POLL, _name(commits.newest_move(db, repository.id), told), told)
        projects.set_polled(db, repository.id)
        return new

    def _ripe(self, db: Database, repository: Repository, moved: Moved) -> Moved:
        """What is to be told now: where webhooks come, only what has differed for a while in the same way."""
        if not deliveries.told(db, repository.id):
            self._seen.pop(repository.id, None)
            return moved
        now, before = time.monotonic(), self._seen.get(repository.id, {})
        seen = {(ref, after): before.get((ref, after), now) for ref, (_, after) in moved.items()}
        ripe = {ref: move for ref, move in moved.items() if now - seen[ref, move[1]] >= self._config.git.poll_grace}
        self._seen[repository.id] = {key: since for key, since in seen.items() if key[0] not in ripe}
        return ripe


def interval(db: Database, config: Config, repository: Repository) -> float:
    """The seconds between two questions to a repository that lies elsewhere; 0 when it is never asked."""
    return config.git.poll_webhooks if deliveries.told(db, repository.id) else config.git.poll


def as_it_is_now(path: Path, event: PushEvent) -> PushEvent:
    """An event that polling told of, at where its ref is in the mirror that was just fetched."""
    now = git.resolve(path, event.ref)
    if now is None and event.ref in git.refs(path):
        return event  # a tag of something that is no commit
    return replace(event, after=now or "0" * len(event.before))


def _name(last: int, moved: Moved) -> str:
    """The same for the same moves since push number `last`, so that they are told once."""
    lines = [f"{ref} {before} {after}" for ref, (before, after) in moved.items()]
    return "poll-" + hashlib.sha256("\n".join([str(last), *lines]).encode()).hexdigest()[:40]


def _share(repository_id: int) -> float:
    """A part of SPREAD that differs most between neighbours."""
    return SPREAD * (repository_id * GOLDEN % 1)
