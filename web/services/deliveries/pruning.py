"""Prune old deliveries, a few in each sweep: delete those that nothing refers to, empty the others."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from core import clock
from web.store import deliveries
from web.store.db import Database, transaction

LEAST_S = 3 * 86400.0  # forges may redeliver for this long, and the row identifies the repeat
BUDGET_S = 0.2  # of one sweep


def prune(db: Database, age_s: float) -> None:
    """Prune deliveries that were handled more than `age_s` seconds ago; 0 keeps all."""
    if age_s == 0:
        return
    before = clock.text(datetime.now(UTC) - timedelta(seconds=max(age_s, LEAST_S)))
    deadline = time.monotonic() + BUDGET_S
    while time.monotonic() < deadline and (found := deliveries.handled_before(db, before)):
        with transaction(db):
            deliveries.prune(db, found)
