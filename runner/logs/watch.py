"""Waits for output: the kernel reports writes to the files of a spool, so that no thread polls them."""

from __future__ import annotations

import ctypes
import logging
import os
import select
from collections.abc import Iterable
from pathlib import Path

log = logging.getLogger(__name__)

IN_MODIFY = 0x2  # linux/inotify.h
EVENTS = 64 * 1024  # bytes of reports that are read at once

_libc = ctypes.CDLL(None, use_errno=True)


class Watch:
    """Waits for writes to `files`. One thread waits, any thread may wake it.

    `sees_writes` is False if the kernel has no watch left (`fs.inotify.max_user_instances`): the caller has to look.
    """

    def __init__(self, files: Iterable[Path]) -> None:
        self._woken, self._writes = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK), _watching(files)
        self.sees_writes = self._writes >= 0
        self._poll = select.poll()
        self._poll.register(self._woken, select.POLLIN)

    def wake(self) -> None:
        os.eventfd_write(self._woken, 1)

    def pause(self, seconds: float) -> None:
        """Wait for `seconds` or until `wake` is called."""
        if self._poll.poll(1000 * seconds):
            os.eventfd_read(self._woken)

    def wait(self, seconds: float) -> bool:
        """Wait also for a write; returns whether there was one, and none since the last call before it."""
        if not self.sees_writes:
            self.pause(seconds)
            return False
        self._poll.register(self._writes, select.POLLIN)
        earlier = self._poll.poll(0)
        ready = [descriptor for descriptor, _ in earlier or self._poll.poll(1000 * seconds)]
        self._poll.unregister(self._writes)
        if self._woken in ready:
            os.eventfd_read(self._woken)
        if self._writes in ready:
            os.read(self._writes, EVENTS)
        return not earlier and self._writes in ready

    def close(self) -> None:
        os.close(self._woken)
        if self.sees_writes:
            os.close(self._writes)


def _watching(files: Iterable[Path]) -> int:
    """Return a descriptor that reports writes to the files, or -1."""
    descriptor: int = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if descriptor < 0:
        log.info("output is looked for in intervals: %s", os.strerror(ctypes.get_errno()))
        return -1
    for file in files:
        if _libc.inotify_add_watch(descriptor, os.fsencode(file), IN_MODIFY) < 0:
            log.info("%s cannot be watched: %s", file, os.strerror(ctypes.get_errno()))
            os.close(descriptor)
            return -1
    return descriptor
