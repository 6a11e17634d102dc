"""Deliveries that arrive at the same time are stored together, and none is answered before it is stored."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import Any

import pytest
from api_server import ApiServer
from instance import wait_for

from web.store import deliveries, projects
from web.store.db import connect, transaction
from web.store.deliveries import Received
from web.store.inbox import Inbox

NO_REPOSITORY = 12345


@dataclass
class Senders:
    """Threads that store one delivery each, with connections of their own."""

    api: ApiServer
    inbox: Inbox = field(default_factory=Inbox)
    outcomes: dict[str, Any] = field(default_factory=dict)
    statements: list[str] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)
    pages: int = 0  # the size to which the database is limited

    def send(self, name: str, repository_id: int) -> None:
        self.threads.append(threading.Thread(target=self._store, args=(name, repository_id), daemon=True))
        self.threads[-1].start()

    def _store(self, name: str, repository_id: int) -> None:
        with closing(connect(self.api.config.database).conn) as connection:
            db = deliveries.Database(connection)
            connection.execute(f"PRAGMA max_page_count = {self.pages or 2**30}")
            connection.set_trace_callback(self.statements.append)
            try:
                received = Received(repository_id, "github", "push", body=b"x" * 100_000)
                self.outcomes[name] = self.inbox.store(db, received, name)
            except sqlite3.Error as error:
                self.outcomes[name] = type(error)

    def wait(self) -> None:
        for thread in self.threads:
            thread.join(60)

    def send_while_locked(self, *repositories: int) -> None:
        """Send one delivery, then the others while the first one waits for the lock."""
        with transaction(self.api.db):
            self.send("first", repositories[0])
            wait_for(lambda: self.inbox._turn.locked() and not self.inbox._waiting)
            for number, repository_id in enumerate(repositories[1:]):
                self.send(f"d-{number}", repository_id)
            wait_for(lambda: len(self.inbox._waiting) == len(repositories) - 1)
            assert self.outcomes == {}
        self.wait()


@pytest.fixture
def senders(api: ApiServer) -> Iterator[Senders]:
    with ExitStack() as after:
        made = Senders(api)
        after.callback(made.wait)
        yield made


def test_deliveries_that_wait_share_a_transaction(api: ApiServer, senders: Senders) -> None:
    (repository,) = projects.list_repositories(api.db, api.demo.id)
    senders.send_while_locked(*[repository.id] * 5)
    assert all(isinstance(found, tuple) and found[1] for found in senders.outcomes.values())
    assert deliveries.count(api.db, api.demo.id) == 5
    assert sum(statement == "BEGIN IMMEDIATE" for statement in senders.statements) == 1
    known = senders.outcomes["d-1"]
    senders.send("d-1", repository.id)
    senders.wait()
    assert (known, senders.outcomes["d-1"]) == ((number := known[0], True), (number, False))


def test_one_whose_repository_was_removed_does_not_harm_the_others(api: ApiServer, senders: Senders) -> None:
    (repository,) = projects.list_repositories(api.db, api.demo.id)
    senders.send_while_locked(repository.id, repository.id, NO_REPOSITORY, repository.id)
    assert senders.outcomes["d-1"] is sqlite3.IntegrityError
    assert deliveries.count(api.db, api.demo.id) == 3


def test_all_learn_that_a_transaction_failed(api: ApiServer, senders: Senders) -> None:
    (repository,) = projects.list_repositories(api.db, api.demo.id)
    (senders.pages,) = api.db.conn.execute("PRAGMA page_count").fetchone()
    senders.pages += 60  # room for two of them
    senders.send_while_locked(*[repository.id] * 4)
    assert isinstance(senders.outcomes.pop("first"), tuple)
    assert set(senders.outcomes.values()) == {sqlite3.OperationalError}
    assert deliveries.count(api.db, api.demo.id) == 1
