"""Failed log-ins by address, so that names and tokens cannot be guessed quickly. All ways to log in share them."""

from __future__ import annotations

import ipaddress
import threading
import time
from collections import OrderedDict, deque

FAILURES, WINDOW_S = 10, 60.0
ADDRESSES = 10_000  # known at once; past that the one whose last failure is the oldest is forgotten
NETWORK_BITS = 64  # of IPv6: what one customer has


class Throttle:
    """Failures of the last minute. In memory: a restart forgets them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._times: OrderedDict[str, deque[float]] = OrderedDict()

    def too_many(self, address: str) -> bool:
        """Whether log-ins from this address must wait."""
        with self._lock:
            times = self._times.get(_bucket(address), deque())
            return len(times) >= FAILURES and times[0] > time.monotonic() - WINDOW_S

    def add(self, address: str) -> None:
        """Count a failed log-in."""
        bucket = _bucket(address)
        with self._lock:
            self._times.setdefault(bucket, deque(maxlen=FAILURES)).append(time.monotonic())
            self._times.move_to_end(bucket)
            if len(self._times) > ADDRESSES:
                self._times.popitem(last=False)


def _bucket(address: str) -> str:
    """Addresses that count as one."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    return str(found.ipv4_mapped or ipaddress.ip_network((int(found), NETWORK_BITS), strict=False))
