"""Downloads one file over HTTP(S); each address is checked before a connection is made to it."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import ipaddress
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote_to_bytes, urljoin

from urllib3 import BaseHTTPResponse, HTTPConnectionPool, HTTPSConnectionPool, Timeout
from urllib3.exceptions import HTTPError, LocationParseError, SSLError
from urllib3.util import Url, parse_url

from core.errors import ExecutionFailed
from core.states import FailureReason
from core.text import make_printable, parse_whole_number
from core.units import format_size
from runner.inputs import address_policy

TIMEOUT = Timeout(connect=10, read=60)
MAX_REDIRECTS = 5
PAUSES_S = (0.3, 1.0)  # pauses before the second and the third try
CHUNK = 256 * 1024
REDIRECTS = (301, 302, 303, 307, 308)
PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, kw_only=True)
class Downloaded:
    """Size and checksums of a download.

    `validators` are request headers that make the next download conditional on a change.
    """

    size: int
    md5: str
    sha1: str
    sha256: str
    validators: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Settings of a download. `progress` is called with the bytes so far and in total (None if unknown)."""

    allow_hosts: tuple[str, ...]
    cancelled: Callable[[], bool]
    progress: Callable[[int, int | None], None]


class _PassingError(Exception):
    """Raised for failures that are retried; the text is for the user if the last try fails."""


@dataclass
class _Sums:
    size: int = 0
    _digests: list[hashlib._Hash] = field(
        default_factory=lambda: [hashlib.new(name, usedforsecurity=False) for name in ("md5", "sha1", "sha256")]
    )

    def add(self, chunk: bytes) -> None:
        self.size += len(chunk)
        for digest in self._digests:
            digest.update(chunk)

    def result(self, validators: Mapping[str, str]) -> Downloaded:
        md5, sha1, sha256 = (digest.hexdigest() for digest in self._digests)
        return Downloaded(size=self.size, md5=md5, sha1=sha1, sha256=sha256, validators=validators)


def download(url: str, target: Path, validators: Mapping[str, str], *, rules: Rules, limit: int) -> Downloaded | None:
    """Download `url` to `target`; returns None if the server answers to `validators` that nothing has changed.

    Tries three times if connections break or the server answers 5xx. Accepts at most `limit` bytes. The body is stored
    as sent, never decompressed. Raises ExecutionFailed with the URL, without credentials and query, and the reason.
    """
    for pause in (*PAUSES_S, None):
        try:
            with target.open("wb") as file:
                return _try(parse_http_url(url), file, validators, rules, limit)
        except _PassingError as error:
            _check_cancelled(rules)
            if pause is None:
                raise _failed(f"{error} (tried {len(PAUSES_S) + 1} times)") from None
            time.sleep(pause)
    raise AssertionError("unreachable")


def parse_http_url(url: str) -> Url:
    """Parse an absolute http or https URL. Raises ExecutionFailed."""
    try:
        result = parse_url(url)
    except LocationParseError:
        raise _failed(f"{url.partition('?')[0].rpartition('@')[2][:200]!r} is not a URL") from None
    if result.scheme not in PORTS:
        raise _failed(f"{format_url(result)} cannot be fetched: only http:// and https:// can")
    if not result.host:
        raise _failed(f"{format_url(result)} has no host")
    return result


def format_url(url: Url) -> str:
    """A URL for messages: without credentials, and without the query, which may contain a signature."""
    return Url(scheme=url.scheme, host=url.host, port=url.port, path=url.path).url[:300]


def _try(url: Url, file: BinaryIO, validators: Mapping[str, str], rules: Rules, limit: int) -> Downloaded | None:
    with contextlib.ExitStack() as stack:
        for _ in range(MAX_REDIRECTS + 1):
            _check_cancelled(rules)
            response = stack.enter_context(_response(url, validators, rules.allow_hosts))
            if response.status not in REDIRECTS:
                return _received(url, response, file, validators, rules, limit)
            url = _redirected(url, response.headers.get("Location", ""))
    raise _failed(f"{format_url(url)} was reached after more than {MAX_REDIRECTS} redirects")


def _received(
    url: Url, response: BaseHTTPResponse, file: BinaryIO, validators: Mapping[str, str], rules: Rules, limit: int
) -> Downloaded | None:
    if response.status == 304 and validators:
        return None
    if response.status != 200:
        answer = f"{format_url(url)} answered {response.status} {make_printable(response.reason or '')[:200]}".rstrip()
        raise _PassingError(answer) if response.status >= 500 else _failed(answer)
    sums = _Sums()
    total = _content_length(response)
    if total is not None and total > limit:
        raise _too_large(url, limit)
    for chunk in _body(url, response, sums, total, rules):
        sums.add(chunk)
        if sums.size > limit:
            raise _too_large(url, limit)
        file.write(chunk)
        rules.progress(sums.size, total)
    return sums.result(_validators(response))


def _body(url: Url, response: BaseHTTPResponse, sums: _Sums, total: int | None, rules: Rules) -> Iterator[bytes]:
    with _cut_when_cancelled(response, rules.cancelled):
        try:
            while chunk := response.read1(CHUNK, decode_content=False):
                yield chunk
                _check_cancelled(rules)
        except (HTTPError, OSError) as error:
            _check_cancelled(rules)
            of = f" of {format_size(total)}" if total is not None else ""
            raise _PassingError(
                f"{format_url(url)} broke off after {format_size(sums.size)}{of}: {_why(error)}"
            ) from None
    _check_cancelled(rules)


@contextlib.contextmanager
def _cut_when_cancelled(response: BaseHTTPResponse, cancelled: Callable[[], bool]) -> Iterator[None]:
    """Interrupt a read that waits for a silent server within half a second after a cancellation."""
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.5):
            if cancelled():
                with contextlib.suppress(ValueError, RuntimeError, OSError):  # the response has just ended by itself
                    response.shutdown()
                return

    thread = threading.Thread(target=watch, name="download", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@contextlib.contextmanager
def _response(url: Url, validators: Mapping[str, str], allow_hosts: tuple[str, ...]) -> Iterator[BaseHTTPResponse]:
    """Yield the response of the first of the host's addresses that accepts a connection."""
    problem = "it has no address"
    for address in _checked_addresses(url, allow_hosts):
        with _pool(url, address) as pool:
            try:
                response = pool.urlopen(
                    "GET",
                    url.request_uri,
                    headers=_headers(url, validators),
                    redirect=False,
                    retries=False,
                    assert_same_host=False,
                    preload_content=False,
                    decode_content=False,
                )
            except SSLError as error:
                raise _failed(f"{format_url(url)} cannot be trusted: {_why(error)}") from None
            except (HTTPError, OSError) as error:
                problem = _why(error)
                continue
            try:
                yield response
            finally:
                response.close()
            return
    raise _PassingError(f"{format_url(url)} cannot be reached: {problem}")


def _pool(url: Url, address: str) -> HTTPConnectionPool:
    """A pool that connects to the address but requests and verifies the host name. Ignores proxy variables."""
    port = url.port or PORTS[str(url.scheme)]
    if url.scheme == "http":
        return HTTPConnectionPool(address, port, timeout=TIMEOUT)
    name = _bare_host(url)
    return HTTPSConnectionPool(address, port, timeout=TIMEOUT, server_hostname=name, assert_hostname=name)


def _headers(url: Url, validators: Mapping[str, str]) -> dict[str, str]:
    port = f":{url.port}" if url.port and url.port != PORTS[str(url.scheme)] else ""
    headers = {"Host": f"{url.host}{port}", "Accept-Encoding": "identity", "User-Agent": "pushmill", **validators}
    if url.auth:
        headers["Authorization"] = f"Basic {base64.b64encode(unquote_to_bytes(url.auth)).decode('ascii')}"
    return headers


def _checked_addresses(url: Url, allow_hosts: tuple[str, ...]) -> list[str]:
    """Resolve the host. Raises ExecutionFailed if any of its addresses is not allowed."""
    host = _bare_host(url)
    try:
        found = socket.getaddrinfo(host, url.port or PORTS[str(url.scheme)], type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise _PassingError(f"{format_url(url)} cannot be reached: {_why(error)}") from None
    result = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    for address in result:
        why = address_policy.explain_refusal_here(address)
        if why and not address_policy.is_allowed(host, address, allow_hosts):
            raise _failed(
                f"{format_url(url)} leads to {address}, {why}, which inputs may not be fetched from; "
                "[runner] allow_input_hosts of this runner allows it"
            )
    return result


def _redirected(url: Url, location: str) -> Url:
    if not location:
        raise _failed(f"{format_url(url)} redirects to nowhere")
    new = parse_http_url(urljoin(url.url, location))
    if url.scheme == "https" and new.scheme == "http":
        raise _failed(
            f"{format_url(url)} redirects to {format_url(new)}, without TLS; give that address itself if it is meant"
        )
    same_place = (new.scheme, new.host, new.port) == (url.scheme, url.host, url.port)
    return new._replace(auth=url.auth if same_place else None)


def _validators(response: BaseHTTPResponse) -> dict[str, str]:
    pairs = {"If-None-Match": response.headers.get("ETag"), "If-Modified-Since": response.headers.get("Last-Modified")}
    return {name: value for name, value in pairs.items() if value}


def _content_length(response: BaseHTTPResponse) -> int | None:
    text = response.headers.get("Content-Length", "")
    chunked = "chunked" in response.headers.get("Transfer-Encoding", "").lower()
    return None if chunked else parse_whole_number(text)


def _bare_host(url: Url) -> str:
    host = str(url.host).strip("[]")
    with contextlib.suppress(ValueError):
        return str(ipaddress.ip_address(host))
    return host


def _why(error: BaseException) -> str:
    """The last part of urllib3's nested error message, without object addresses."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return make_printable(str(error).rpartition(">: ")[2] or type(error).__name__)[:200]


def _check_cancelled(rules: Rules) -> None:
    if rules.cancelled():
        raise _failed("the execution was stopped while inputs were fetched")


def _too_large(url: Url, limit: int) -> ExecutionFailed:
    return _failed(f"{format_url(url)} is larger than the {format_size(limit)} that are left for inputs")


def _failed(message: str) -> ExecutionFailed:
    return ExecutionFailed(FailureReason.INPUT, message)
