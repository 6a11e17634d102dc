"""Old deliveries lose what came in, and go when nothing refers to them; a little with each sweep."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from core import clock
from web.store import deliveries
from web.store.db import Database, transaction

LEAST_S = 3 * 86400.0  # so long forges send a delivery again, which is known by its row
BUDGET_S = 0.2  # of one sweep


def prune(db: Database, age_s: float) -> None:
    """Drop deliveries that were handled longer ago than that; 0 is never."""
    if age_s == 0:
        return
    before = clock.text(datetime.now(UTC) - timedelta(seconds=max(age_s, LEAST_S)))
    deadline = time.monotonic() + BUDGET_S
    while time.monotonic() < deadline and (found := deliveries.handled_before(db, before)):
        with transaction(db):
            deliveries.prune(db, found)
