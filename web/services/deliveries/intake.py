"""Limits on incoming webhooks: bytes of bodies in memory, and deliveries per minute of one repository."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

MINUTE_S = 60.0
MOST_REPOSITORIES = 10_000  # remembered at most; only verified deliveries count


class Full(Exception):
    """Raised when the bytes in memory have reached their limit."""


class Share:
    """The part of a budget that one body uses."""

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget, self.taken = budget, 0

    def take(self, count: int) -> None:
        """Take `count` more bytes. Raises Full if the budget does not have them."""
        self._budget.take(count)
        self.taken += count


class MemoryBudget:
    """A number of bytes shared by all bodies."""

    def __init__(self, size: int) -> None:
        self._size, self.taken, self._lock = size, 0, threading.Lock()

    @contextmanager
    def share(self) -> Iterator[Share]:
        """Return a share that is given back at the end of the context."""
        share = Share(self)
        try:
            yield share
        finally:
            self.take(-share.taken)

    def take(self, count: int) -> None:
        with self._lock:
            if count > 0 and self.taken + count > self._size:
                raise Full
            self.taken += count


@dataclass
class Bucket:
    """A token bucket: `tokens` deliveries were left for a repository at the time `at`."""

    tokens: float
    at: float


class Rate:
    """Admits `per_minute` deliveries of each repository, all at once after a quiet minute; 0 is unlimited."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._buckets: dict[int, Bucket] = {}
        self._lock = threading.Lock()

    def wait_s(self, repository_id: int) -> float:
        """Count one more delivery. Returns 0.0 if it is admitted, else the seconds until the next one is."""
        if not self._per_minute:
            return 0.0
        now, each_s = time.monotonic(), MINUTE_S / self._per_minute
        with self._lock:
            bucket = self._buckets.pop(repository_id, None) or Bucket(self._per_minute, now)
            bucket.tokens = min(self._per_minute, bucket.tokens + (now - bucket.at) / each_s)
            bucket.at = now
            self._buckets[repository_id] = bucket  # at the end: the first one has been quiet longest
            if len(self._buckets) > MOST_REPOSITORIES:
                del self._buckets[next(iter(self._buckets))]
            if bucket.tokens < 1:
                return (1 - bucket.tokens) * each_s
            bucket.tokens -= 1
            return 0.0
