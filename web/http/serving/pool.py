"""Threads that run calls. Unlike those of concurrent.futures they never keep the process from exiting."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")
Call = Callable[[], None]


class Pool:
    """At most `threads` threads, started on demand; at most `waiting` calls wait for one."""

    def __init__(self, name: str, threads: int, waiting: int) -> None:
        self.name, self._threads, self._waiting = name, threads, waiting
        self._calls: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._started = self._open = 0

    async def run(self, call: Callable[[], T]) -> T:
        """Return the result of `call`, or raise its exception; asyncio.QueueFull if too many calls are waiting."""
        done = Future[T]()

        def carry_out() -> None:
            if not done.set_running_or_notify_cancel():
                return  # the server is shutting down
            try:
                done.set_result(call())
            except BaseException as error:  # noqa: BLE001  raised again where it is awaited
                done.set_exception(error)

        self.submit(carry_out)
        return await asyncio.wrap_future(done)

    def submit(self, call: Call) -> None:
        """Run a call that raises nothing on a thread; asyncio.QueueFull if too many are waiting."""
        with self._lock:
            if self._open >= self._threads + self._waiting:
                raise asyncio.QueueFull
            self._open += 1
            if self._open > self._started and self._started < self._threads:
                self._started += 1
                threading.Thread(target=self._run, name=f"{self.name}-{self._started}", daemon=True).start()
        self._calls.put(call)

    def close(self) -> None:
        """End the threads once they have run what waits."""
        for _ in range(self._started):
            self._calls.put(None)

    def _run(self) -> None:
        while call := self._calls.get():
            call()
            with self._lock:
                self._open -= 1
