"""Threads that run calls. Unlike those of concurrent.futures they never keep the process from exiting."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")
Call = Callable[[], None]
Mailbox = SimpleQueue[Call | None]


class Pool:
    """At most `threads` threads, started on demand; at most `waiting` calls wait for one.

    A call goes to the thread that has become idle last: its database connection and the processor's caches still hold
    what the call needs, and the other threads sleep on. While calls wait, a thread takes its next one only after the
    event loop has the result of the last: among many busy threads the loop would get Python's global lock too rarely,
    and all other clients would wait.
    """

    def __init__(self, name: str, threads: int, waiting: int) -> None:
        self.name, self._threads, self._waiting = name, threads, waiting
        self._lock = threading.Lock()
        self._idle: list[Mailbox] = []  # of idle threads
        self._calls = deque[Call]()  # that wait for a thread
        self._started, self._closed = 0, False

    async def run(self, call: Callable[[], T]) -> T:
        """Return the result of `call`, or raise its exception; asyncio.QueueFull if too many calls are waiting."""
        done, taken = Future[T](), threading.Event()

        def carry_out() -> None:
            if not done.set_running_or_notify_cancel():
                return  # the server is shutting down
            try:
                done.set_result(call())
            except BaseException as error:  # noqa: BLE001  raised again where it is awaited
                done.set_exception(error)
            if self._calls:
                taken.wait()

        self.submit(carry_out)
        try:
            return await asyncio.wrap_future(done)
        finally:
            taken.set()

    def submit(self, call: Call) -> None:
        """Run a call that raises nothing on a thread; asyncio.QueueFull if too many are waiting."""
        with self._lock:
            if self._idle:
                self._idle.pop().put(call)
            elif self._started < self._threads:
                name = f"{self.name}-{self._started + 1}"
                threading.Thread(target=self._run, args=(call,), name=name, daemon=True).start()
                self._started += 1  # afterwards: starting fails at the limit of tasks of the system or service
            elif len(self._calls) < self._waiting:
                self._calls.append(call)
            else:
                raise asyncio.QueueFull

    def close(self) -> None:
        """End the threads once they have run what waits."""
        with self._lock:
            self._closed = True
            while self._idle:
                self._idle.pop().put(None)

    def _run(self, first: Call) -> None:
        mailbox = Mailbox()
        call: Call | None = first
        while call is not None:
            call()
            call = self._next(mailbox)

    def _next(self, mailbox: Mailbox) -> Call | None:
        """Wait for the next call of a thread; None if there will be none."""
        with self._lock:
            if self._calls:
                return self._calls.popleft()
            if self._closed:
                return None
            self._idle.append(mailbox)
        return mailbox.get()
