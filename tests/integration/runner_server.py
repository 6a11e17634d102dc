"""A fake server that speaks the server's side of core.wire, and records what the runner sends.

`test_runner_protocol` holds that it answers as the real one.
"""

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

from core.datum import find_name_problem
from core.errors import InvalidInput
from core.states import FINAL, FailureReason, State
from core.wire import STREAMS, ExecutionSpec, FinalReport, LogBatch, SourcesReport

IN_THE_QUERY = ("log", "outputs", "data", "lfs")
NUMBERS = ("attempt", "start", "end", "first_us", "last_us", "skipped")
ENDING = ("attempt", "state", "failure_reason", "exit_code")


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
    uploads: dict[str, tuple[str, bytes]] = field(default_factory=dict)  # the same by uuid
    data: dict[str, bytes] = field(default_factory=dict)  # inputs that are outputs of others, by uuid
    lfs: dict[str, bytes] = field(default_factory=dict)
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

    def answer(self, parts: list[str], query: dict[str, str], body: bytes) -> tuple[int, Any]:
        """The status and the content of the answer: bytes as they are, anything else as JSON."""
        if parts == ["heartbeat"]:
            self.reports.append(json.loads(body))
            return 200, self.orders
        _, uuid, verb, *rest = parts
        execution = self.executions.get(uuid)
        if execution is None:
            return 404, {"detail": "no such execution"}
        try:
            message = _numbered(query) if verb in IN_THE_QUERY else json.loads(body)
            if type(message["attempt"]) is not int:
                raise ValueError("attempt is not a number")
            if verb == "final":
                return self._final(execution, message)
            if verb == "claim":
                return self._claim(execution, message)
            if not self._held(execution, message):
                return 409, {"detail": "not your lease"}
            call: Callable[..., tuple[int, Any]] = getattr(self, f"_{verb}")
            return call(execution, message, body, *rest)
        except (ValueError, KeyError, InvalidInput) as error:
            return 400, {"detail": str(error)}

    def _held(self, execution: Recorded, message: dict[str, Any]) -> bool:
        ours = execution.claimed and not execution.given_away and not execution.final
        return ours and message["attempt"] == execution.attempt

    def _claim(self, execution: Recorded, message: dict[str, Any]) -> tuple[int, Any]:
        ended = execution.given_away or execution.final or message["attempt"] != execution.attempt
        if ended or execution.claimed != message["resume"]:
            return 409, {"detail": "claimed already, or never"}
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

    def _sources(self, execution: Recorded, message: dict[str, Any], body: bytes) -> tuple[int, Any]:
        return 200, SourcesReport(state="wanted").to_dict()

    def _log(self, execution: Recorded, query: dict[str, Any], body: bytes) -> tuple[int, Any]:
        batch = LogBatch.from_dict(query)
        have = execution.acknowledged[batch.stream]
        if not 0 <= batch.skipped <= batch.start <= batch.end or not body.endswith(b"\n" if body else b""):
            raise ValueError("not whole lines")
        if batch.end <= have or batch.start - batch.skipped != have:
            return 200 if batch.end <= have else 409, {"acknowledged": have}
        assert batch.first_us <= batch.last_us
        execution.acknowledged[batch.stream] = batch.end
        execution.pieces[batch.stream].append(body)
        execution.batches.append(batch)
        execution.arrivals.append((time.perf_counter(), batch.stream, body[:200]))
        return 200, {"acknowledged": batch.end}

    def _preview(self, execution: Recorded, message: dict[str, Any], body: bytes) -> tuple[int, Any]:
        if message["start"] == execution.acknowledged[message["stream"]]:
            execution.previews.append((message["stream"], message["text"]))
        return 200, {}

    def _data(self, execution: Recorded, query: dict[str, Any], body: bytes, datum: str) -> tuple[int, Any]:
        return (200, execution.data[datum]) if datum in execution.data else (404, {"detail": "no such input"})

    def _lfs(self, execution: Recorded, query: dict[str, Any], body: bytes, oid: str) -> tuple[int, Any]:
        return (200, execution.lfs[oid]) if oid in execution.lfs else (404, {"detail": "no such object"})

    def _outputs(self, execution: Recorded, query: dict[str, Any], body: bytes, datum: str) -> tuple[int, Any]:
        name = query["name"]
        if problem := find_name_problem(name):
            raise ValueError(problem)
        if execution.uploads.setdefault(datum, (name, body)) != (name, body):
            return 409, {"detail": "already stored, with another name or content"}
        execution.outputs[name] = body
        return 200, {"sha256": hashlib.sha256(body).hexdigest()}

    def _final(self, execution: Recorded, message: dict[str, Any]) -> tuple[int, Any]:
        report = FinalReport.from_dict(message)
        reason = FailureReason(report.failure_reason) if report.failure_reason else None
        if State(report.state) not in FINAL or (report.state == State.ERROR) != (reason is not None):
            raise ValueError("no end of an execution")
        if execution.final and all(execution.final.get(key) == message.get(key) for key in ENDING):
            return 200, {}
        if not self._held(execution, message):
            return 409, {"detail": "not your lease"}
        if report.status:
            if list(map(type, report.status)) != [int, int, int, int, str]:
                raise ValueError("not lines of the log")
            numbers = dict(zip(("start", "end", "first_us", "last_us"), report.status[:4], strict=True))
            batch = {"stream": "status", "attempt": report.attempt, "skipped": 0} | numbers
            assert self._log(execution, batch, report.status[4].encode())[0] == 200
        execution.final = message
        return 200, {}


def _numbered(query: dict[str, str]) -> dict[str, Any]:
    """The numbers of a query are whole and not negative."""
    numbers = {name: int(text) for name, text in query.items() if name in NUMBERS}
    if any(number < 0 for number in numbers.values()):
        raise ValueError("a number is negative")
    return query | numbers


def _handler(server: RunnerServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = 65536

        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"] or 0)
            body = self.rfile.read(length)
            if len(body) < length:  # its sender was killed
                self.close_connection = True
                return
            url = urlsplit(self.path)
            path = url.path.removeprefix("/api/runner/")
            query = {name: values[0] for name, values in parse_qs(url.query, keep_blank_values=True).items()}
            refused = server.before(path) or (401 if self.headers["Authorization"] != "Token secret" else None)
            with server.lock:
                status, answer = (refused, {}) if refused else server.answer(path.split("/"), query, body)
            data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            if status == 200 and "Range" in self.headers:
                status, data = 206, data[int(self.headers["Range"].removeprefix("bytes=").rstrip("-")) :]
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_PUT = do_POST  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    return Handler
