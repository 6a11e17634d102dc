"""The HTTP server behind api.json, through which a running program accesses its own execution.

One server per execution listens on the gateway address of the containers' network, answers only the addresses of its
container, and requires a bearer token.

    POST /status_detail           {"status_detail": text}
    GET  /input_request?inputs=…  [{"name", "files": [{"input_id", "filename", "url"}]}]
"""

from __future__ import annotations

import contextlib
import errno
import hmac
import json
import logging
import random
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from typing import Any
from urllib.parse import parse_qs, urlsplit

from core.errors import PushmillError
from core.text import parse_whole_number
from runner.inputs.fetch import FetchedInput

log = logging.getLogger(__name__)

MAX_BODY = 64 * 1024
CONNECTIONS = 16  # at once; further ones are closed, because a container may open any number
REQUEST_S = 10.0  # from the connection until the whole request has arrived
ADDRESS_S = 30.0  # a container's first request may arrive before Docker has reported its addresses
LOOK_S = 1.0  # between two looks at the deadlines of requests


def map_input_requests(fetched: Iterable[FetchedInput]) -> dict[str, Any]:
    """Map input ids to the responses of `/input_request`, with the original URLs of the files, for on-demand inputs."""
    return {
        item.input_id: {
            "name": item.name,
            "files": [
                {"input_id": item.input_id, "filename": file.name, "url": file.uri}
                for file in item.files
                if file.size is None
            ],
        }
        for item in fetched
        if item.on_demand and item.input_id
    }


def shuffle_ports(first_and_last: tuple[int, int]) -> list[int]:
    """The ports to try, in random order, so that executions that start together rarely try the same one."""
    first, last = first_and_last
    return random.sample(range(first, last + 1), last + 1 - first)


class Relay:
    """Serves one execution until closed, at the first free port of `ports`. Raises OSError."""

    def __init__(
        self,
        address: str,
        ports: Iterable[int],
        token: str,
        inputs: Mapping[str, Any],
        set_detail: Callable[[str], None],
    ) -> None:
        self._server = _bound(address, ports, lambda at: _Server(at, token, inputs, set_detail))
        self._address, self._token = address, token
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve, name="relay", daemon=True)
        self._thread.start()

    def api(self) -> dict[str, Any]:
        """Return the content of api.json: keyword arguments for `requests.request`, by endpoint."""
        base = f"http://{self._address}:{self.port}"
        headers = {"Authorization": f"Bearer {self._token}"}
        return {
            "set_status_detail": {"url": f"{base}/status_detail", "method": "POST", "headers": headers},
            "input_request": {"url": f"{base}/input_request", "method": "GET", "headers": headers},
        }

    def serve_only(self, addresses: Iterable[str]) -> None:
        """Set the container's addresses. Requests wait until this is called; then those from others are dropped."""
        self._server.addresses = frozenset(addresses)
        self._server.known.set()

    def close(self) -> None:
        self._server.known.set()
        self._server.ended = True
        with contextlib.suppress(OSError):  # a connection ends the wait for one
            socket.create_connection((self._address, self.port), timeout=LOOK_S).close()
        self._thread.join()
        self._server.server_close()


def _bound(address: str, ports: Iterable[int], make: Callable[[tuple[str, int]], _Server]) -> _Server:
    problem = OSError(errno.EADDRINUSE, "no port to try; [runner] relay_ports has none")
    for port in ports:
        try:
            return make((address, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            problem = error
    raise problem


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    timeout = LOOK_S

    def __init__(
        self, address: tuple[str, int], token: str, inputs: Mapping[str, Any], set_detail: Callable[[str], None]
    ) -> None:
        self.authorization = f"Bearer {token}".encode()
        self.inputs, self.set_detail = inputs, set_detail
        self.addresses: frozenset[str] = frozenset()
        self.known = threading.Event()
        self.ended = False
        self._arriving: dict[socket.socket, float] = {}  # connection → deadline of its request
        self._room = threading.BoundedSemaphore(CONNECTIONS)
        super().__init__(address, _Handler)

    def serve(self) -> None:
        while not self.ended:
            self.handle_request()
            self._end_overdue()

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002
        return not self.known.is_set() or client_address[0] in self.addresses

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            if self.known.wait(ADDRESS_S) and self.verify_request(request, client_address):
                self._arriving[request] = time.monotonic() + REQUEST_S
                super().process_request_thread(request, client_address)
            else:
                self.shutdown_request(request)
        finally:
            self._arriving.pop(request, None)
            self._room.release()

    def _end_overdue(self) -> None:
        """Close connections whose request is not complete in time, even if bytes keep arriving."""
        now = time.monotonic()
        for connection, deadline in list(self._arriving.items()):
            if now > deadline:
                self.arrived(connection)
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def arrived(self, connection: socket.socket) -> None:
        """Remove the deadline of a request that has arrived completely."""
        self._arriving.pop(connection, None)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        log.debug("relay: a request from %s failed", client_address)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = REQUEST_S

    def do_POST(self) -> None:
        if not self._allowed() or urlsplit(self.path).path != "/status_detail":
            return self._answer(404, {"error": "not found"})
        text = _status_detail(self.headers.get("Content-Length", ""), self.rfile)
        self.server.arrived(self.connection)
        if text is None:
            return self._answer(400, {"error": 'a JSON object {"status_detail": text} of at most 64 KiB was expected'})
        try:
            self.server.set_detail(text)
        except PushmillError as error:
            return self._answer(503, {"error": str(error)})
        return self._answer(200, {})

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if not self._allowed() or url.path != "/input_request":
            return self._answer(404, {"error": "not found"})
        asked = dict.fromkeys(parse_qs(url.query, max_num_fields=1000).get("inputs", []))
        return self._answer(200, [self.server.inputs[item] for item in asked if item in self.server.inputs])

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        log.debug("relay: " + format, *args)

    def _allowed(self) -> bool:
        return hmac.compare_digest(self.headers.get("Authorization", "").encode(), self.server.authorization)

    def _answer(self, status: int, content: Any) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(data)
        self.close_connection = True


def _status_detail(length: str, file: BufferedIOBase) -> str | None:
    """The text in a request's body, or None if the body is invalid."""
    size = parse_whole_number(length)
    if size is None or size > MAX_BODY:
        return None
    try:
        body = json.loads(file.read(size))
    except (ValueError, RecursionError):
        return None
    text = body.get("status_detail") if isinstance(body, dict) else None
    return text if isinstance(text, str) else None
