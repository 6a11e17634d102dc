"""Sends a batch of the log while the next one is read."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

S = TypeVar("S")  # the stream that the batch is of


class Posting(Generic[S]):
    """A batch on its way to the server, in a thread of its own."""

    def __init__(self, stream: S, end: int, send: Callable[[], int]) -> None:
        self.stream, self.end = stream, end
        self._acknowledged = Future[int]()
        threading.Thread(target=self._run, args=(send,), name="post", daemon=True).start()

    def acknowledged(self) -> int:
        """Wait for the answer: how many bytes of the stream the server has. Raises the error of sending."""
        return self._acknowledged.result()

    def _run(self, send: Callable[[], int]) -> None:
        try:
            self._acknowledged.set_result(send())
        except BaseException as error:  # noqa: BLE001  # raised in acknowledged()
            self._acknowledged.set_exception(error)
