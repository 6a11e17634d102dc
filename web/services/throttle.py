"""Limit failed logins by address, so that names and tokens cannot be guessed quickly. All ways to log in share it."""

from __future__ import annotations

import ipaddress
import threading
import time
from collections import OrderedDict, deque

FAILURES, WINDOW_S = 10, 60.0
ADDRESSES = 10_000  # remembered at most; beyond that the one whose last failure is oldest is dropped
NETWORK_BITS = 64  # bits of an IPv6 address that identify one customer's network


class Throttle:
    """Failures of the last minute, in memory: a restart forgets them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._times: OrderedDict[str, deque[float]] = OrderedDict()

    def too_many(self, address: str) -> bool:
        """Return whether logins from this address must wait."""
        with self._lock:
            times = self._times.get(_bucket(address), deque())
            return len(times) >= FAILURES and times[0] > time.monotonic() - WINDOW_S

    def add(self, address: str) -> None:
        """Count a failed login."""
        bucket = _bucket(address)
        with self._lock:
            self._times.setdefault(bucket, deque(maxlen=FAILURES)).append(time.monotonic())
            self._times.move_to_end(bucket)
            if len(self._times) > ADDRESSES:
                self._times.popitem(last=False)

    def forgive(self, address: str) -> None:
        """Remove the newest failure, which turned out to be a success."""
        with self._lock:
            if times := self._times.get(_bucket(address)):
                times.pop()


def _bucket(address: str) -> str:
    """Return the key that an address is counted under: an IPv4 address or an IPv6 network."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    return str(found.ipv4_mapped or ipaddress.ip_network((int(found), NETWORK_BITS), strict=False))
