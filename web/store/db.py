"""The database: opening it, its transactions and statements. Only the server's processes on the server's machine open it.

The server has one web process, and in each process writers queue on a lock instead of polling. Between processes they
look each millisecond: SQLite's own pauses grow to 25 ms. The worker copies the database's write-ahead log back each
second. Left to SQLite, some writer does it for 64 MB at a time and all others, webhooks included, wait 50 ms.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from sqlite_utils import Database as Database  # the rest of the server imports it from here

Row = dict[str, Any]

BUSY_S = 10.0  # that a writer waits for one of another process
LOOK_AGAIN_S = 0.001

# SQLite polls while it waits for another writer, which is unfair under load (a second and more was measured for four
# writers). Inside one process writers queue here instead; between processes `_lock` looks again and again.
_writers = threading.RLock()


def connect(path: Path) -> Database:
    """Open the database as it is: `schema.migrate` brings it up to date. One connection belongs to one thread at a time."""
    connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA foreign_keys = ON")
    # the worker does it (`checkpoint`): who writes waits 50 ms for copying 64 MB back. This is for when it is away
    connection.execute("PRAGMA wal_autocheckpoint = 65536")
    return Database(connection)


def copy(source: Path, target: Path) -> None:
    """Write a consistent copy of the database at `source`, which others may be writing to, in the place of `target`.

    The copy is compact, has no log beside it, and is at `target` only once it is complete.
    """
    partial = target.with_name(f".{target.name}.partial")
    partial.unlink(missing_ok=True)
    os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    connection = sqlite3.connect(source, timeout=BUSY_S, isolation_level=None)
    try:
        connection.execute("VACUUM INTO ?", (str(partial),))
    finally:
        connection.close()
    partial.replace(target)


def damage(path: Path) -> str:
    """What is wrong with the file of a database that nobody has open; "" if nothing is."""
    try:
        with closing(sqlite3.connect(path)) as connection:
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.DatabaseError as error:
        return str(error)
    return "" if found == "ok" else str(found)


def checkpoint(db: Database) -> None:
    """Copy what has been written since the last time into the database itself. Holds up neither readers nor writers."""
    db.conn.execute("PRAGMA wal_checkpoint(PASSIVE)")


@contextmanager
def transaction(db: Database) -> Iterator[None]:
    """`BEGIN IMMEDIATE` … `COMMIT`: what is read inside is still true when it is written. Not reentrant."""
    with _writers:
        _lock(db, "BEGIN IMMEDIATE")
        try:
            yield
            db.conn.execute("COMMIT")
        except BaseException:
            if db.conn.in_transaction:  # a full disk has ended it already
                db.conn.execute("ROLLBACK")
            raise


@contextmanager
def overwriting(db: Database) -> Iterator[None]:
    """Leave nothing on the disk of what is replaced or deleted inside, as far as no other connection still reads it."""
    (usual,) = db.conn.execute("PRAGMA secure_delete").fetchone()
    db.conn.execute("PRAGMA secure_delete = ON")
    try:
        yield
    finally:
        db.conn.execute(f"PRAGMA secure_delete = {usual}")
        db.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # the log has the old pages


def rows(db: Database, sql: str, values: Any = ()) -> list[Row]:
    cursor = db.conn.execute(sql, values)
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def row(db: Database, sql: str, values: Any = ()) -> Row | None:
    found = rows(db, sql, values)
    return found[0] if found else None


def execute(db: Database, sql: str, values: Any = ()) -> int:
    """Run one statement that writes; the number of rows it changed."""
    with _writers:
        run = db.conn.execute if db.conn.in_transaction else partial(_lock, db)
        return run(sql, values).rowcount


def _lock(db: Database, sql: str, values: Any = ()) -> sqlite3.Cursor:
    """Run a statement that takes the write lock, which another process may hold.

    SQLite itself would look again after 1, 2, 5, 10, 15, 20 and 25 ms, so a few milliseconds of another's would cost 50.
    """
    deadline = time.monotonic() + BUSY_S
    db.conn.execute("PRAGMA busy_timeout = 0")
    try:
        while True:
            try:
                return db.conn.execute(sql, values)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
            time.sleep(LOOK_AGAIN_S)
    finally:
        db.conn.execute(f"PRAGMA busy_timeout = {1000 * BUSY_S:.0f}")


def insert(db: Database, table: str, values: Row) -> int:
    """Insert one row; its id."""
    columns = ", ".join(f"[{name}]" for name in values)
    marks = ", ".join("?" * len(values))
    cursor = db.conn.execute(f"INSERT INTO [{table}] ({columns}) VALUES ({marks})", tuple(values.values()))
    return int(cursor.lastrowid or 0)
