"""Concurrent writers of several processes, and the size of the database's log."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from instance import wait_for
from push_server import PushServer

from web.processes.sweep import Sweeper
from web.store import db as store
from web.store.db import Database, connect, execute, fetch_rows, insert, transaction

MARK = "0f3c-written-to-the-log-first"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "made.db"


@pytest.fixture
def db(path: Path) -> Iterator[Database]:
    with closing(connect(path)) as made:
        execute(made, "CREATE TABLE thing (name TEXT)")
        yield made


def test_who_writes_waits_for_another_process_and_no_longer(db: Database, path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        began, done = threading.Event(), threading.Event()

        def write() -> None:
            began.set()
            execute(db, "INSERT INTO thing VALUES ('one')")
            with transaction(db):
                execute(db, "INSERT INTO thing VALUES ('two')")
            done.set()

        thread = threading.Thread(target=write)
        thread.start()
        began.wait(10)
        assert not done.wait(0.1)
        other.execute("INSERT INTO thing VALUES ('first')")
        other.execute("COMMIT")
        thread.join(10)
    assert [found["name"] for found in fetch_rows(db, "SELECT name FROM thing")] == ["first", "one", "two"]


def test_who_waits_too_long_for_another_process_is_told(
    db: Database, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "BUSY_S", 0.05)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            execute(db, "INSERT INTO thing VALUES ('never')")
        other.execute("COMMIT")
    execute(db, "INSERT INTO thing VALUES ('now')")


def test_the_sweep_copies_back_what_was_written(pushes: PushServer) -> None:
    database = pushes.config.database
    execute(pushes.db, "UPDATE user SET email = ? WHERE id = 1", (MARK,))
    assert MARK.encode() not in database.read_bytes()
    sweeper = Sweeper(pushes.config, pushes.vault, pushes.queues)
    try:
        sweeper.sweep()
        wait_for(lambda: MARK.encode() in database.read_bytes())
    finally:
        sweeper.close()


def test_a_write_that_belongs_with_others_is_refused_outside_a_transaction(db: Database) -> None:
    with pytest.raises(RuntimeError, match=r"web\.store\.db\.insert is called outside a transaction"):
        insert(db, "thing", {"name": "alone"})
    assert fetch_rows(db, "SELECT * FROM thing") == []
    with transaction(db):
        insert(db, "thing", {"name": "together"})
    assert fetch_rows(db, "SELECT * FROM thing") == [{"name": "together"}]
