"""Storing the deliveries of many threads: those that arrive while others are being stored share one transaction.

Each transaction waits for the lock and writes a page of every index of the table, which costs more than a row.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

from web.store import deliveries
from web.store.db import Database, transaction
from web.store.deliveries import Received


@dataclass
class WaitingDelivery:
    """A delivery that waits to be stored; `stored` is what `deliveries.store` returned for it, once it is committed."""

    received: Received
    delivery_id: str
    ignored: str | None
    stored: tuple[int, bool] | None = None
    error: Exception | None = None


class Inbox:
    """What waits to be stored: the thread whose turn it is stores all of it."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._waiting = deque[WaitingDelivery]()

    def store(self, db: Database, received: Received, delivery_id: str, ignored: str | None = None) -> tuple[int, bool]:
        """Do what `deliveries.store` does; return when the delivery is committed."""
        mine = WaitingDelivery(received, delivery_id, ignored)
        self._waiting.append(mine)
        with self._turn:
            if mine.stored is None and mine.error is None:
                _store_together(db, [self._waiting.popleft() for _ in range(len(self._waiting))])
        if mine.error:
            raise mine.error
        assert mine.stored is not None  # noqa: S101
        return mine.stored


def _store_together(db: Database, waiting: Sequence[WaitingDelivery]) -> None:
    """Store deliveries, all in one transaction. Raises nothing: each of them has its result or its error."""
    found = list[tuple[int, bool] | None]()
    try:
        with transaction(db) if len(waiting) > 1 else nullcontext():
            for one in waiting:
                try:
                    found.append(deliveries.store(db, one.received, one.delivery_id, one.ignored))
                except sqlite3.IntegrityError as error:  # its repository was removed; the others are stored
                    found.append(None)
                    one.error = error
    except Exception as error:  # noqa: BLE001  raised again by the thread of each of them
        for one in waiting:
            one.error = one.error or error
        return
    for one, stored in zip(waiting, found, strict=True):
        one.stored = stored
