"""Threads that run calls. Unlike those of concurrent.futures they never keep the process from exiting."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import Callable
from typing import TypeVar

logger = logging.getLogger(__name__)
T = TypeVar("T")
Call = Callable[[], None]


class Pool:
    """At most `threads` threads, started on demand; at most `waiting` calls wait for one."""

    def __init__(self, name: str, threads: int, waiting: int) -> None:
        self.name, self._threads, self._waiting = name, threads, waiting
        self._calls: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._started = self._open = 0

    def submit(self, call: Call) -> bool:
        """Run `call` on a thread; False if too many calls are waiting."""
        with self._lock:
            if self._open >= self._threads + self._waiting:
                return False
            self._open += 1
            if self._open > self._started and self._started < self._threads:
                self._started += 1
                threading.Thread(target=self._run, name=f"{self.name}-{self._started}", daemon=True).start()
        self._calls.put(call)
        return True

    async def run(self, call: Callable[[], T]) -> T:
        """Return the result of `call`, or raise its exception; asyncio.QueueFull if too many calls are waiting."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()

        def settle(value: T | None, error: BaseException | None) -> None:
            if not done.cancelled():
                done.set_exception(error) if error else done.set_result(value)  # type: ignore[arg-type]

        def carry_out() -> None:
            try:
                value, error = call(), None
            except Exception as raised:  # noqa: BLE001  raised again where it is awaited
                loop.call_soon_threadsafe(settle, None, raised)
            else:
                loop.call_soon_threadsafe(settle, value, error)

        if not self.submit(carry_out):
            raise asyncio.QueueFull
        return await done

    def close(self) -> None:
        """End the threads once they have run what waits."""
        for _ in range(self._started):
            self._calls.put(None)

    def _run(self) -> None:
        while call := self._calls.get():
            try:
                call()
            except Exception:
                logger.exception("a call on the threads %s failed", self.name)
            finally:
                with self._lock:
                    self._open -= 1
