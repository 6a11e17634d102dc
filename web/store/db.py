"""The database: opening it, transactions and statements. Only the server's processes, on the server's machine, open it.

The server has one web process, and in each process writers queue on a lock instead of polling. Between processes they
retry every millisecond: SQLite's own pauses grow to 25 ms. The worker copies the write-ahead log back into the database
every second. Left to SQLite, one writer would copy 64 MB at a time while all others, including webhooks, wait 50 ms.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from enum import StrEnum
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlite_utils import Database as Database  # the rest of the server imports it from here

Row = dict[str, Any]
P = ParamSpec("P")
R = TypeVar("R")

BUSY_S = 10.0  # how long a writer waits for a writer in another process
LOOK_AGAIN_S = 0.001
BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_BUSY_RECOVERY})

# SQLite polls while it waits for another writer, which is unfair under load (waits of a second and more were measured
# with four writers). Writers of one process queue here instead; between processes a `Connection` polls.
_writers = threading.RLock()


class Connection(sqlite3.Connection):
    """Waits for other processes by itself: SQLite would retry after 1, 2, 5, 10, 15, 20 and 25 ms.

    So a lock that another process holds for a few milliseconds could cost 50.
    """

    def execute(self, sql: str, values: Any = (), /) -> sqlite3.Cursor:
        """Run a statement; it is retried for BUSY_S if another process holds a lock that it needs."""
        deadline = 0.0
        while True:
            try:
                return super().execute(sql, values)
            except sqlite3.OperationalError as error:
                deadline = deadline or time.monotonic() + BUSY_S
                if getattr(error, "sqlite_errorcode", None) not in BUSY or time.monotonic() > deadline:
                    raise
            time.sleep(LOOK_AGAIN_S)


def connect(path: Path) -> Database:
    """Open the database without migrating it (see `schema.migrate`). One thread at a time may use a connection."""
    connection = sqlite3.connect(path, 0, isolation_level=None, check_same_thread=False, factory=Connection)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA foreign_keys = ON")
    # normally the worker calls `checkpoint`, since copying back 64 MB blocks a writer for 50 ms; this is the fallback
    connection.execute("PRAGMA wal_autocheckpoint = 65536")
    return Database(connection)


def copy(source: Path, target: Path) -> None:
    """Replace `target` with a consistent copy of the database at `source`, to which others may be writing.

    The copy is compact, has no write-ahead log, and appears at `target` only once it is complete.
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


def find_damage(path: Path) -> str:
    """Return the damage that SQLite finds in a database file that no process has open, or ""."""
    try:
        with closing(sqlite3.connect(path)) as connection:
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.DatabaseError as error:
        return str(error)
    return "" if found == "ok" else str(found)


def checkpoint(db: Database) -> None:
    """Copy the write-ahead log into the database file. Blocks neither readers nor writers."""
    db.conn.execute("PRAGMA wal_checkpoint(PASSIVE)")


@contextmanager
def transaction(db: Database) -> Iterator[None]:
    """Run a block in `BEGIN IMMEDIATE` … `COMMIT`: no other writer can change data read inside. Not reentrant."""
    with _writers:
        db.conn.execute("BEGIN IMMEDIATE")
        try:
            yield
            db.conn.execute("COMMIT")
        except BaseException:
            if db.conn.in_transaction:  # SQLite itself rolls back on a full disk
                db.conn.execute("ROLLBACK")
            raise


def joined(db: Database) -> AbstractContextManager[None]:
    """Run a block in the caller's transaction, or in one of its own."""
    return nullcontext() if db.conn.in_transaction else transaction(db)


def needs_transaction(
    function: Callable[Concatenate[Database, P], R],
) -> Callable[Concatenate[Database, P], R]:
    """Refuse to run a function outside a transaction: its caller decides what else is committed with it."""

    @wraps(function)
    def checked(db: Database, /, *args: P.args, **kwargs: P.kwargs) -> R:
        if not db.conn.in_transaction:
            raise RuntimeError(f"{function.__module__}.{function.__qualname__} is called outside a transaction")
        return function(db, *args, **kwargs)

    return checked


@contextmanager
def overwriting(db: Database) -> Iterator[None]:
    """Erase data replaced or deleted in this block from the disk, unless another connection is still reading it."""
    (usual,) = db.conn.execute("PRAGMA secure_delete").fetchone()
    db.conn.execute("PRAGMA secure_delete = ON")
    try:
        yield
    finally:
        db.conn.execute(f"PRAGMA secure_delete = {usual}")
        db.conn.execute(f"PRAGMA busy_timeout = {1000 * BUSY_S:.0f}")  # a checkpoint reports that it was locked out
        db.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # the write-ahead log contains the old pages
        db.conn.execute("PRAGMA busy_timeout = 0")


def make_sql_list(values: Collection[StrEnum]) -> str:
    """Return members of one enumeration as an SQL list, in its order: partial indexes apply to the same text only."""
    kind = type(next(iter(values)))
    return "(" + ", ".join(f"'{value}'" for value in kind if value in values) + ")"


def fetch_rows(db: Database, sql: str, values: Any = ()) -> list[Row]:
    cursor = db.conn.execute(sql, values)
    if not (found := cursor.fetchall()):
        return []  # many statements look for work that is rare; they have many columns
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in found]


def fetch_row(db: Database, sql: str, values: Any = ()) -> Row | None:
    """Return the first row that a statement finds."""
    cursor = db.conn.execute(sql, values)
    found = cursor.fetchone()
    return (
        None if found is None else {column[0]: value for column, value in zip(cursor.description, found, strict=True)}
    )


def execute(db: Database, sql: str, values: Any = ()) -> int:
    """Run a writing statement; return the number of changed rows."""
    with _writers:
        return db.conn.execute(sql, values).rowcount


def insert_new(db: Database, sql: str, values: Any = ()) -> int | None:
    """Run an `INSERT … ON CONFLICT DO NOTHING`; return the id of the new row, None if it conflicts."""
    with _writers:
        cursor = db.conn.execute(sql, values)
        return cursor.lastrowid if cursor.rowcount else None


def insert(db: Database, table: str, values: Row) -> int:
    """Insert a row; return its id. Only in a transaction, like functions with `needs_transaction`."""
    if not db.conn.in_transaction:
        raise RuntimeError("web.store.db.insert is called outside a transaction")
    columns = ", ".join(f"[{name}]" for name in values)
    marks = ", ".join("?" * len(values))
    cursor = db.conn.execute(f"INSERT INTO [{table}] ({columns}) VALUES ({marks})", tuple(values.values()))
    return int(cursor.lastrowid or 0)
