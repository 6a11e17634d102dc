"""A fake of a forge's API on loopback, as far as pushmill calls it: GitHub, GitLab, Gitea (and Forgejo) or Bitbucket.

It keeps the state that the real one keeps: GitHub and Gitea append statuses and show the newest of a context, GitLab
moves jobs by its state machine and makes a pipeline for the first status of a commit, Bitbucket overwrites by key. Limits
are those of the forges' documentation and source. So it proves that the sequence of our calls ends in what a person should
see, by the rules as we know them; whether a live forge follows them it cannot prove. Nothing is checked that is not
listed here: any sha exists, pull requests exist, tokens either are `TOKEN` or wrong.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qsl

import fake_forge_logins
from fake_forge_apis import API, PREFIXES, ForgeState, Recorded, Refusal

KINDS = ("github", "gitlab", "gitea", "bitbucket")


@dataclass(kw_only=True)
class Fault:
    """What happens to the next `times` calls whose path contains `path`, instead of or after what they ask for."""

    path: str = ""
    method: str = ""
    times: int = 1
    status: int = 0  # answered with; 0: no answer
    json: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    applied: bool = False  # what was asked for is done all the same
    until: threading.Event | None = None  # hangs until then


class FakeForge(ThreadingHTTPServer, ForgeState):
    """`kind` is the forge. Tests read `calls`, `shown` and the lists, and inject faults."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, kind: str, port: int = 0) -> None:
        ThreadingHTTPServer.__init__(self, ("127.0.0.1", port), Handler)
        ForgeState.__init__(self, kind)
        self.calls: list[Recorded] = []
        self.leaving = threading.Event()
        self._faults: list[Fault] = []

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def api_url(self) -> str:
        return self.origin + self.below + PREFIXES[self.kind]

    @property
    def clone_url(self) -> str:
        return f"{self.origin}/{self.full_name}.git"

    def fail(self, status: int, *, times: int = 1, path: str = "", method: str = "", **more: Any) -> None:
        """Answer the next `times` calls whose path contains `path` with `status`; the others are as in Fault."""
        with self.lock:
            self._faults.append(Fault(path=path, method=method, times=times, status=status, **more))

    def drop(self, *, times: int = 1, path: str = "", method: str = "", applied: bool = False) -> None:
        """Close the connection of the next calls; `applied` is whether they take effect."""
        with self.lock:
            self._faults.append(Fault(path=path, method=method, times=times, applied=applied))

    def hang(self, *, times: int = 1, path: str = "", method: str = "", applied: bool = False) -> threading.Event:
        """Answer the next calls only when the event is set."""
        until = threading.Event()
        with self.lock:
            fault = Fault(path=path, method=method, times=times, until=until, applied=applied, status=200, json={})
            self._faults.append(fault)
        return until

    def mend(self) -> None:
        """Remove all faults."""
        with self.lock:
            self._faults.clear()

    def posts(self, what: str = "/statuses/") -> list[Recorded]:
        """Return the calls that change something, in order."""
        with self.lock:
            return [call for call in self.calls if call.method != "GET" and what in call.path]

    def told(self) -> list[tuple[str, str]]:
        """(context, state) of every status that was posted, in order, whatever was answered."""
        return [(status_name(call.json), call.json["state"]) for call in self.posts()]

    def shown(self, sha: str) -> dict[str, tuple[str, str]]:
        """Return state and description by context, as a person sees them on the commit."""
        with self.lock:
            found = [status for status in self.statuses if status["sha"] == sha]
        return {status["name"]: (status["state"], status["description"]) for status in found}

    def overlaps(self) -> int:
        """Return how many calls arrived while another one was being answered."""
        with self.lock:
            spans = sorted((call.began, call.ended) for call in self.calls if call.ended)
        return sum(later[0] < earlier[1] for earlier, later in pairwise(spans))

    def fault(self, method: str, path: str) -> Fault | None:
        with self.lock:
            for fault in self._faults:
                if fault.times > 0 and fault.path in path and fault.method in ("", method):
                    fault.times -= 1
                    return fault
        return None

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no error here."""


def status_name(body: Mapping[str, Any]) -> str:
    return str(body.get("context") or body.get("name"))


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body leave at once: apart, the second waits 40 ms for an acknowledgement
    wbufsize = -1
    server: FakeForge

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Quiet."""

    def do_GET(self) -> None:
        self._serve()

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        sent = self.rfile.read(length)
        is_form = self.headers.get("Content-Type", "").startswith("application/x-www-form-urlencoded")
        body = dict(parse_qsl(sent.decode())) if is_form else json.loads(sent) if length else None
        forge = self.server
        headers = {name.lower(): value for name, value in self.headers.items()}
        call = Recorded(method=self.command, path=self.path, headers=headers, json=body, began=time.monotonic())
        with forge.lock:
            forge.calls.append(call)
        fault = forge.fault(call.method, call.path)
        try:
            if fault is None:
                self._answer(call, *self._done(call))
            else:
                self._go_wrong(call, fault)
        finally:
            call.ended = time.monotonic()

    def _done(self, call: Recorded) -> tuple[int, Any] | tuple[int, Any, Mapping[str, str]]:
        try:
            if self.server.kind == "github" and fake_forge_logins.PATHS.fullmatch(call.path.partition("?")[0]):
                return fake_forge_logins.answer(self.server, call)
            return API[self.server.kind](self.server, call)
        except Refusal as refusal:
            return refusal.status, refusal.body

    def _go_wrong(self, call: Recorded, fault: Fault) -> None:
        done = self._done(call) if fault.applied else None
        if fault.until is not None:
            while not fault.until.wait(0.05) and not self.server.leaving.is_set():
                pass
            self._answer(call, *(done or self._done(call)))
        elif fault.status:
            self._answer(call, fault.status, fault.json, fault.headers)
        else:
            self.close_connection = True
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)

    def _answer(self, call: Recorded, status: int, body: Any, headers: Mapping[str, str] | None = None) -> None:
        data = b"" if status == 204 else json.dumps(body).encode()
        call.answered = status
        call.ended = time.monotonic()
        with contextlib.suppress(OSError):
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)


@contextlib.contextmanager
def running(kind: str, port: int = 0) -> Iterator[FakeForge]:
    with FakeForge(kind, port) as forge:
        thread = threading.Thread(target=forge.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield forge
        finally:
            forge.leaving.set()
            forge.shutdown()
            thread.join()
