"""A server of data files on loopback, and inputs of a runner that are fetched from it."""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from runner_host import execution

from core.errors import ExecutionFailed
from core.states import FailureReason
from core.wire import InputSpec
from runner.inputs.cache import Cache
from runner.inputs.datums import Datums
from runner.inputs.fetch import FetchedInput, InputFetcher
from runner.server_client import Reporter

ALLOWED = ("127.0.0.1",)


class DataServer(ThreadingHTTPServer):
    """Answers each path by the function of that name; `requests` are path and headers of each."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.routes: dict[str, Callable[[Handler], None]] = {}
        self.leaving = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def paths(self) -> list[str]:
        return [path for path, _ in self.requests]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no error here."""


class Handler(BaseHTTPRequestHandler):
    server: DataServer

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Quiet."""

    def do_GET(self) -> None:
        self.server.requests.append((self.path, dict(self.headers)))
        route = self.server.routes.get(self.path.partition("?")[0])
        if route:
            route(self)
        else:
            self.answer(404)

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)


@contextlib.contextmanager
def served() -> Iterator[DataServer]:
    with DataServer() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield running
        running.leaving.set()
        running.shutdown()
        thread.join()


class Fetching:
    """One runner's inputs: every `fetch` is another execution's, over the same cache. `lines` are its status lines."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.lines = directory, list[str]()
        self.allow_hosts: tuple[str, ...] = ALLOWED
        self.limit = 10**9
        self.cancelled: Callable[[], bool] = lambda: False
        self.ignore_cache = False
        self.datums = Datums(Reporter("http://127.0.0.1:9", "secret"), execution("true"))
        self.inputs = directory

    def __call__(self, *specs: InputSpec) -> list[FetchedInput]:
        self.lines.clear()
        self.inputs = self.directory / uuid.uuid4().hex
        fetcher = InputFetcher(
            cache=Cache(self.directory / "cache" / "inputs", ignore=self.ignore_cache),
            datums=self.datums,
            allow_hosts=self.allow_hosts,
            status=self.lines.append,
            cancelled=self.cancelled,
            limit=self.limit,
        )
        return fetcher.fetch(specs, self.inputs)

    def failure(self, *urls: str) -> str:
        """Fetch the only input "x" of an execution, which must fail; return the message."""
        with pytest.raises(ExecutionFailed) as failed:
            self(InputSpec(name="x", urls=list(urls)))
        assert failed.value.reason is FailureReason.INPUT
        assert not list(self.directory.glob("cache/inputs/new-*"))
        return str(failed.value)


def spec(*urls: str, name: str = "data", **more: Any) -> InputSpec:
    return InputSpec(name=name, urls=list(urls), **more)
