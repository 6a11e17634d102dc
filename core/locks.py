"""File locks between processes and threads; a lock is released when its holder dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def hold(path: Path, *, shared: bool = False, wait: bool = True) -> Iterator[bool]:
    """Hold the lock file `path` for the block; it and its directory are created if missing.

    Yields True; without `wait`, yields False if the lock is not free.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        yield take(descriptor, shared=shared, wait=wait)
    finally:
        release(descriptor)


def take(descriptor: int, *, shared: bool = False, wait: bool = True) -> bool:
    """Lock an open file until `release`; without `wait`, returns False if the lock is not free."""
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(descriptor, kind if wait else kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def release(descriptor: int) -> None:
    """Unlock an open file, and close it.

    Closing alone would keep the lock while a child process that another thread has just forked still has the file open.
    """
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)
