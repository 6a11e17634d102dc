"""The runner's side of core.wire: an HTTP client for the server's `/api/runner/`.

All text of an execution that leaves this machine passes through this module, which masks its secrets.
Calls, except those documented as one try, are retried while the server is unavailable (connection errors, 429, 5xx) or
rejects the token, until `give_up()` returns True: a training must not lose its result because its runner's token is
being replaced. A connection without an answering peer is closed after 10 s.
"""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, BinaryIO, NewType, TypeVar
from urllib.parse import urlencode

import orjson
import urllib3

from core.errors import Conflict, Denied, ExecutionFailed, NotFound, PushmillError
from core.states import FailureReason
from core.wire import (
    ExecutionSpec,
    FinalReport,
    LeaseOrders,
    LogBatch,
    Message,
    RunnerOrders,
    RunnerReport,
    SourcesReport,
)
from runner.logs.masking import Masker

log = logging.getLogger(__name__)
Answer = TypeVar("Answer")
MaskedLines = NewType("MaskedLines", bytes)  # whole lines without secrets

FIRST_WAIT_S, LONGEST_WAIT_S = 0.1, 5.0
CHUNK = 256 * 1024
PREVIEW_BYTES = 4096  # most bytes of an unfinished line that are shown
TIMEOUT = urllib3.Timeout(connect=5, read=60)
HEARTBEAT_TIMEOUT = urllib3.Timeout(total=3)  # short, because a heartbeat in progress delays the end of a runner
# A broken link leaves connections on which no response would ever arrive: tcp(7). Sent data must be acknowledged within
# GONE_MS, and keep-alive probes check a silent server.
GONE_MS = 10_000
SOCKET_OPTIONS = [
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, GONE_MS),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 2),
]


class Unavailable(PushmillError):
    """Raised when the server cannot be reached or answers 429 or 5xx, and the caller does not wait."""


class ServerFull(Unavailable):
    """Raised when the server has too little free disk; `reason` is its message."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class RefusedByServer(Conflict):
    """Raised for a 409, with the server's answer; for logs the answer says how many bytes the server has."""

    def __init__(self, message: str, answer: dict[str, Any]) -> None:
        super().__init__(message)
        self.answer = answer


class Rejected(PushmillError):
    """Raised when the server rejects a request; `reason` is its message, without the request."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


def never() -> bool:
    return False


def ignore(reason: str) -> None:
    pass


class Reporter:
    """Talks to one server as one runner. Threads may share it."""

    def __init__(
        self,
        server_url: str,
        token: str,
        give_up: Callable[[], bool] = never,
        masker: Masker | None = None,
        on_full: Callable[[str], None] = ignore,
    ) -> None:
        self._base = server_url.rstrip("/") + "/api/runner/"
        self._token = token
        self._give_up, self._on_full = give_up, on_full
        self._masker = masker or Masker()
        self._http = urllib3.PoolManager(maxsize=4, retries=False, socket_options=SOCKET_OPTIONS)

    def with_give_up(
        self, give_up: Callable[[], bool], masker: Masker | None = None, on_full: Callable[[str], None] = ignore
    ) -> Reporter:
        """Return a client for the same server with its own connections, `give_up` and secrets.

        `on_full` is called with the server's message each time it has too little disk; the request is then retried.
        """
        return Reporter(self._base.removesuffix("/api/runner/"), self._token, give_up, masker, on_full)

    def close(self) -> None:
        self._http.clear()

    def report(self, report: RunnerReport) -> RunnerOrders:
        """Send the runner's heartbeat. One try; raises Unavailable or Denied."""
        return RunnerOrders.from_dict(self._once("POST", "heartbeat", _json(report), timeout=HEARTBEAT_TIMEOUT))

    def claim(self, execution: str, attempt: int, *, resume: bool = False) -> ExecutionSpec:
        """Claim a queued execution, or with `resume` get the spec of one that is already held. Raises Conflict."""
        body = {"attempt": attempt, "resume": resume}
        return ExecutionSpec.from_dict(self._call("POST", f"executions/{execution}/claim", _json(body)))

    def heartbeat(self, execution: str, attempt: int) -> LeaseOrders:
        """Extend the lease. One try; raises Unavailable or Denied, or Conflict if the lease is lost."""
        path = f"executions/{execution}/heartbeat"
        body = _json({"attempt": attempt})
        return LeaseOrders.from_dict(self._once("POST", path, body, timeout=HEARTBEAT_TIMEOUT))

    def container(
        self,
        execution: str,
        attempt: int,
        container_id: str,
        image_digest: str,
        devices: Sequence[str],
        stage_s: Mapping[str, float],
    ) -> None:
        """Report that a container is about to start: from now on the execution never returns to the queue."""
        body = {
            "attempt": attempt,
            "container_id": container_id,
            "image_digest": image_digest,
            "devices": list(devices),
            "stage_s": dict(stage_s),
        }
        self._call("POST", f"executions/{execution}/container", _json(body))

    def usage(self, execution: str, attempt: int, samples: Sequence[tuple[int, str, float]]) -> None:
        """Store samples of resource usage. One try; raises Unavailable. Idempotent."""
        self._once("POST", f"executions/{execution}/usage", _json({"attempt": attempt, "samples": samples}))

    def detail(self, execution: str, attempt: int, text: str) -> None:
        """Set the execution's status detail."""
        body = {"attempt": attempt, "status_detail": self._masker.mask_text(text)}
        self._call("POST", f"executions/{execution}/detail", _json(body))

    def mask(self, lines: bytes) -> MaskedLines:
        return MaskedLines(self._masker.mask(lines))

    def log(self, execution: str, batch: LogBatch, lines: MaskedLines) -> int:
        """Store lines; returns how many spool bytes of the stream the server has, possibly other than `batch.end`."""
        query = urlencode(batch.to_dict())
        try:
            answer = self._call("POST", f"executions/{execution}/log?{query}", lambda: lines, OCTETS)
        except RefusedByServer as refused:
            answer = refused.answer
            if answer.get("acknowledged") in (None, batch.start):
                raise
        acknowledged = answer.get("acknowledged")
        if type(acknowledged) is not int or acknowledged < 0:
            raise PushmillError(f"the server acknowledged {acknowledged!r} of the log; a number of bytes was expected")
        return acknowledged

    def preview(self, execution: str, attempt: int, stream: str, start: int, line: bytes) -> None:
        """Show an unfinished line that begins at spool byte `start`. One try; raises PushmillError."""
        text = self._masker.mask(line)[:PREVIEW_BYTES].decode(errors="replace")
        body = {"attempt": attempt, "stream": stream, "start": start, "text": text}
        self._once("POST", f"executions/{execution}/preview", _json(body), timeout=HEARTBEAT_TIMEOUT)

    def fetch(self, execution: str, attempt: int, datum: str, write: Callable[[bytes], object]) -> None:
        """Pass all bytes of an output that is an input of the execution to `write`; resumes broken downloads.

        Raises NotFound, Conflict, and Unavailable if it was given up.
        """
        self._receive(f"executions/{execution}/data/{datum}", attempt, write)

    def fetch_lfs(self, execution: str, attempt: int, oid: str, write: Callable[[bytes], object]) -> None:
        """Like `fetch`, for a Git LFS object of the execution's repository."""
        self._receive(f"executions/{execution}/lfs/{oid}", attempt, write)

    def sources(self, execution: str, attempt: int) -> SourcesReport:
        """Get the server's progress with the submodules and Git LFS objects of the execution's commit."""
        return SourcesReport.from_dict(
            self._call("POST", f"executions/{execution}/sources", _json({"attempt": attempt}))
        )

    def _receive(self, path: str, attempt: int, write: Callable[[bytes], object]) -> None:
        path, at = f"{path}?{urlencode({'attempt': attempt})}", 0

        def receive() -> None:
            nonlocal at
            for chunk in self._chunks_from(path, at):
                write(chunk)
                at += len(chunk)

        self._retried(receive)

    def upload(
        self, execution: str, attempt: int, datum: str, name: str, open_file: Callable[[], BinaryIO], size: int
    ) -> str:
        """Store one output file under the uuid `datum`; returns its sha256. Idempotent for the same uuid.

        Raises Rejected, Conflict, Unavailable if it was given up, and ExecutionFailed if the file has changed.
        """
        query = urlencode({"attempt": attempt, "name": name}, errors="surrogateescape")
        headers = {**OCTETS, "Content-Length": str(size)}
        path = f"executions/{execution}/outputs/{datum}?{query}"
        answer = self._call("PUT", path, lambda: _chunks(open_file(), size, self._give_up), headers)
        return str(answer.get("sha256", ""))

    def final(self, execution: str, report: FinalReport, last: tuple[LogBatch, bytes] | None = None) -> None:
        """Send the final report of an execution with its last status lines. Idempotent for the same report."""
        message, status = report.message, list[Any]()
        if message is not None:
            message = self._masker.mask_text(message)
        if last is not None:
            batch, lines = last
            text = self._masker.mask(lines).decode(errors="replace")
            status = [batch.start, batch.end, batch.first_us, batch.last_us, text]
        report = replace(report, message=message, status=status)
        self._call("POST", f"executions/{execution}/final", _json(report))

    def _call(
        self, method: str, path: str, body: Callable[[], bytes | Iterable[bytes]], headers: dict[str, str] | None = None
    ) -> Any:
        return self._retried(lambda: self._once(method, path, body, headers))

    def _retried(self, call: Callable[[], Answer]) -> Answer:
        wait = FIRST_WAIT_S
        while True:
            try:
                return call()
            except (Unavailable, Denied) as trouble:
                if self._give_up():
                    raise Unavailable(str(trouble)) from None
                if isinstance(trouble, ServerFull):
                    self._on_full(trouble.reason)
                if isinstance(trouble, Denied | ServerFull):
                    wait = LONGEST_WAIT_S
                log.warning("%s; trying again in %.1f s", trouble, wait)
            time.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT_S)

    def _once(
        self,
        method: str,
        path: str,
        body: Callable[[], bytes | Iterable[bytes]],
        headers: dict[str, str] | None = None,
        timeout: urllib3.Timeout = TIMEOUT,
    ) -> Any:
        sent = {"Authorization": f"Token {self._token}", **(headers or {"Content-Type": "application/json"})}
        try:
            response = self._http.request(
                method, self._base + path, body=body(), headers=sent, redirect=False, timeout=timeout
            )
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Unavailable(f"the server at {self._base} cannot be reached: {error}") from None
        return _answer(response.status, response.data, f"{method} {self._base}{path.partition('?')[0]}")

    def _chunks_from(self, path: str, at: int) -> Iterator[bytes]:
        """Yield the body of a GET response without its first `at` bytes."""
        sent = {"Authorization": f"Token {self._token}", "Accept-Encoding": "identity"}
        if at:
            sent["Range"] = f"bytes={at}-"
        try:
            response = self._http.request(
                "GET", self._base + path, headers=sent, redirect=False, timeout=TIMEOUT, preload_content=False
            )
            with contextlib.closing(response):
                if response.status not in (200, 206):
                    _answer(response.status, response.read(), f"GET {self._base}{path.partition('?')[0]}")
                skip = at if response.status == 200 else 0  # a proxy may not support ranges
                for chunk in response.stream(CHUNK, decode_content=False):
                    if self._give_up():
                        raise Unavailable("the download was given up")
                    yield chunk[skip:]
                    skip = max(0, skip - len(chunk))
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Unavailable(f"the connection to the server at {self._base} broke: {error}") from None


OCTETS = {"Content-Type": "application/octet-stream"}


def _json(message: Message | dict[str, Any]) -> Callable[[], bytes]:
    data = orjson.dumps(message.to_dict() if isinstance(message, Message) else message)
    return lambda: data


def _chunks(file: BinaryIO, size: int, give_up: Callable[[], bool]) -> Iterator[bytes]:
    """Yield exactly `size` bytes, the announced length. Raises ExecutionFailed if the file is shorter."""
    with file:
        while size:
            if give_up():
                raise Unavailable("the upload was given up")
            chunk = file.read(min(CHUNK, size))
            if not chunk:
                raise ExecutionFailed(FailureReason.OUTPUT, "it became shorter while it was stored")
            size -= len(chunk)
            yield chunk


def _answer(status: int, data: bytes, what: str) -> Any:
    try:
        answer = json.loads(data) if data else {}
    except ValueError:
        answer = {}
    if status < 300:
        return answer
    detail = answer.get("error") or answer.get("detail") if isinstance(answer, dict) else None
    message = f"{what}: {status} {detail or data[:200].decode(errors='replace')}".rstrip()
    if status == 409:
        raise RefusedByServer(message, answer if isinstance(answer, dict) else {})
    if status in (401, 403):
        raise Denied(f"{message}; is the runner's token right?")
    if status == 404:
        raise NotFound(message)
    if status == 507:
        raise ServerFull(message, str(detail or "the server has too little free disk"))
    if status == 429 or status >= 500:
        raise Unavailable(message)
    raise Rejected(message, str(detail or f"the server answered {status}"))
