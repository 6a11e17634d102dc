"""A recording server that speaks the runner's side of core.wire, with the real rules for log offsets."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from core.wire import STREAMS, ExecutionSpec, LogBatch


@dataclass
class Recorded:
    """One execution as the server knows it."""

    spec: ExecutionSpec
    attempt: int
    claimed: bool = False
    stop: str = ""
    acknowledged: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STREAMS, 0))
    pieces: dict[str, list[bytes]] = field(default_factory=lambda: {stream: [] for stream in STREAMS})
    batches: list[LogBatch] = field(default_factory=list)
    arrivals: list[tuple[float, str, bytes]] = field(default_factory=list)
    previews: list[tuple[str, str]] = field(default_factory=list)
    outputs: dict[str, bytes] = field(default_factory=dict)
    details: list[str] = field(default_factory=list)
    usage: list[tuple[int, str, float]] = field(default_factory=list)
    container: dict[str, Any] = field(default_factory=dict)
    final: dict[str, Any] = field(default_factory=dict)
    given_away: bool = False

    def lines(self, stream: str = "stdout") -> list[str]:
        return self.text(stream).decode(errors="backslashreplace").split("\n")[:-1]

    def text(self, stream: str = "stdout") -> bytes:
        return b"".join(self.pieces[stream])


class RunnerServer:
    """Listens on a free port of the loopback; `before` is called with each request and may hold or fail it."""

    def __init__(self) -> None:
        self.executions: dict[str, Recorded] = {}
        self.before: Callable[[str], int | None] = lambda path: None
        self.reports: list[dict[str, Any]] = []
        self.orders: dict[str, Any] = {}  # the answer to a runner's heartbeat
        self.lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def add(self, spec: ExecutionSpec) -> Recorded:
        self.executions[spec.uuid] = Recorded(spec, spec.attempt)
        return self.executions[spec.uuid]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def post(self, parts: list[str], query: dict[str, str], body: bytes) -> tuple[int, Any]:
        if parts == ["heartbeat"]:
            self.reports.append(json.loads(body))
            return 200, self.orders
        _, uuid, verb, *rest = parts
        execution = self.executions.get(uuid)
        if execution is None:
            return 404, {"error": "no such execution"}
        message = query if verb in ("log", "outputs") else json.loads(body)
        if execution.given_away or execution.final or int(message["attempt"]) != execution.attempt:
            return 409, {"error": "not your lease"}
        call: Callable[..., tuple[int, Any]] = getattr(self, f"_{verb}")
        return call(execution, message, body, *rest)

    def _claim(self, execution: Recorded, message: dict[str, Any], body: bytes) -> tuple[int, Any]:
        if execution.claimed != message["resume"]:
            return 409, {"error": "claimed already, or never"}
        execution.claimed = True
        return 200, execution.spec.to_dict()

    def _heartbeat(self, execution: Recorded, message: dict[str, Any], body: bytes) -> tuple[int, Any]:
        return 200, {"stop": execution.stop, "lease_s": 60.0, "acknowledged": execution.acknowledged}

    def _container(self, execution: Recorded, message: dict[str, Any], body: bytes) -> tuple[int, Any]:
        execution.container = message
        return 200, {}

    def _usage(self, execution: Recorded, message: dict[str, Any], body: bytes) -> tuple[int, Any]:
        execution.usage += [tuple(sample) for sample in message["samples"]]
        return 200, {}

    def _detail(self, execution: Recorded, message: dict[str, Any], body: bytes) -> tuple[int, Any]:
        execution.details.append(message["status_detail"])
        return 200, {}

    def _log(self, execution: Recorded, query: dict[str, str], body: bytes) -> tuple[int, Any]:
        numbers = {name: int(query[name]) for name in ("attempt", "start", "end", "first_us", "last_us", "skipped")}
        batch = LogBatch(stream=query["stream"], **numbers)
        if batch.start - batch.skipped != execution.acknowledged[batch.stream]:
            return 409, {"acknowledged": execution.acknowledged[batch.stream]}
        assert body.endswith(b"\n")
        assert batch.start < batch.end
        assert batch.first_us <= batch.last_us
        execution.acknowledged[batch.stream] = batch.end
        execution.pieces[batch.stream].append(body)
        execution.batches.append(batch)
        execution.arrivals.append((time.perf_counter(), batch.stream, body[:200]))
        return 200, {"acknowledged": batch.end}

    def _preview(self, execution: Recorded, message: dict[str, Any], body: bytes) -> tuple[int, Any]:
        assert message["start"] == execution.acknowledged[message["stream"]]
        execution.previews.append((message["stream"], message["text"]))
        return 200, {}

    def _outputs(self, execution: Recorded, query: dict[str, str], body: bytes, datum: str) -> tuple[int, Any]:
        execution.outputs[query["name"]] = body
        return 200, {"sha256": hashlib.sha256(body).hexdigest()}

    def _final(self, execution: Recorded, message: dict[str, Any], body: bytes) -> tuple[int, Any]:
        execution.final = message
        return 200, {}


def _handler(server: RunnerServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = 65536

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            url = urlsplit(self.path)
            assert self.headers["Authorization"] == "Token secret"
            path = url.path.removeprefix("/api/runner/")
            query = {name: values[0] for name, values in parse_qs(url.query, keep_blank_values=True).items()}
            refused = server.before(path)
            with server.lock:
                status, answer = (refused, {}) if refused else server.post(path.split("/"), query, body)
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_PUT = do_POST  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    return Handler
