"""Connections are bounded and requests are served fairly, whatever their peers do."""

from __future__ import annotations

import hashlib
import os
import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import httpx
import made_once
import pytest
from flask import Flask, Response, request, send_file
from instance import wait_for
from redis import Redis
from serving import Serving

from core import config as configuration
from web.http import auth, webhooks
from web.services import vault
from web.services.announcer import Announcer
from web.services.logins.providers import Providers
from web.services.runners.heartbeats import Heartbeats
from web.services.scheduling.queues import Queues

MIB = 1024**2


class Site:
    """`/git/…` answers with the SHA-256 of what is sent, `/` holds a page's thread until `free` is set."""

    def __init__(self, data: Path, **settings: Any) -> None:
        self.config = configuration.load(data, **{f"server__{key}": value for key, value in settings.items()})
        made_once.prepare(self.config)
        self.free, self.held = threading.Event(), threading.Semaphore(0)
        self.environ: dict[str, Any] = {}
        self.errors: list[str] = []
        (data / "large").write_bytes(os.urandom(8 * MIB))
        self.large = data / "large"
        self.serving = Serving(self._app())

    def _app(self) -> Flask:
        app = Flask("site")
        key, queues = vault.load(self.config.data / "secret.key"), Queues(Redis.from_url("unix:///nonexistent"))
        app.extensions["pushmill"] = auth.Server(
            config=self.config,
            queues=queues,
            vault=key,
            announcer=Announcer(queues),
            providers=Providers(self.config.login),
            heartbeats=Heartbeats(self.config.database),
        )
        app.register_blueprint(webhooks.blueprint)
        app.add_url_rule("/git/hash", "hash", auth.public(lambda: self._hash()), methods=["POST"])
        app.add_url_rule("/git/file", "file", auth.public(lambda: send_file(self.large, conditional=True)))
        app.add_url_rule("/git/endless", "endless", auth.public(lambda: self._endless()))
        app.add_url_rule("/healthz", "healthz", auth.public(lambda: "ok\n"))
        app.add_url_rule("/api/runner/x", "runner", auth.public(lambda: "ok\n"), methods=["GET", "POST"])
        app.add_url_rule("/", "page", auth.public(lambda: self._page()), methods=["GET", "POST"])
        auth.init_app(app)
        return app

    def _hash(self) -> str:
        self.environ = dict(request.environ)
        digest = hashlib.sha256()
        try:
            while chunk := request.stream.read(64 * 1024):
                digest.update(chunk)
        except OSError as error:
            self.errors.append(str(error))
            raise
        return digest.hexdigest()

    def _page(self) -> str:
        self.environ = dict(request.environ)
        self.held.release()
        self.free.wait(60)
        return "page"

    def _endless(self) -> Response:
        ended = threading.Event()

        def body() -> Iterator[bytes]:
            try:
                while True:
                    yield b"x" * 65536
            finally:
                ended.set()
                self.errors.append("ended")

        return Response(body())

    def close(self) -> None:
        self.free.set()
        self.serving.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.serving.port}"

    def get(self, path: str, **more: Any) -> httpx.Response:
        return httpx.get(self.url + path, timeout=30, trust_env=False, **more)

    def connected(self, what: bytes = b"", source: str = "127.0.0.1") -> socket.socket:
        found = socket.create_connection(("127.0.0.1", self.serving.port), 30, (source, 0))
        found.sendall(what)
        return found

    def answer(self, what: bytes) -> bytes:
        """All that comes until the server closes."""
        with closing(self.connected(what)) as peer:
            return read_all(peer)


def read_all(peer: socket.socket) -> bytes:
    found = b""
    try:
        while chunk := peer.recv(65536):
            found += chunk
    except ConnectionResetError:
        pass
    return found


Make = Callable[..., Site]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Make]:
    with ExitStack() as made:

        def make(**settings: Any) -> Site:
            found = Site(tmp_path / str(len(os.listdir(tmp_path))), **settings)
            made.callback(found.close)
            return found

        yield make


QUICK = {"header_timeout": 1, "slow_after": 1, "min_rate": 1000}


@pytest.mark.parametrize("first", [b"", b"GET / HTTP/1.1\r\nHost: x\r\nX-Sl", b"GET /heal"])
def test_a_head_that_does_not_come_ends_the_connection(site: Make, first: bytes) -> None:
    said = site(**QUICK).answer(first)
    assert said == b"" if not first else said.startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("path", ["/", "/git/hash", "/api/runner/x", "/hooks/any/github"])
def test_a_body_that_comes_too_slowly_ends_the_connection_and_has_held_no_thread(site: Make, path: str) -> None:
    server = site(**QUICK)
    signature = f"X-Hub-Signature-256: sha256={'0' * 64}\r\n"
    said = server.answer(f"POST {path} HTTP/1.1\r\nHost: x\r\n{signature}Content-Length: 50000\r\n\r\nabc".encode())
    assert said.startswith(b"HTTP/1.1 408 ")
    assert server.environ == {}


def test_a_large_body_that_stops_ends_the_request_that_reads_it(site: Make) -> None:
    server = site(**QUICK)
    head = b"POST /git/hash HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n\r\n"
    assert server.answer(head + b"x" * MIB) == b""
    wait_for(lambda: server.errors)


def test_forms_of_strangers_are_bounded_in_memory_and_small_ones_are_taken_still(
    site: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.http.serving.lanes.PAGES_MEMORY", MIB)
    server = site()
    server.free.set()
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1040001\r\n\r\n"

    def status() -> int:
        """The status of the answer to a large form; 0 if the connection was closed while the form was being sent."""
        with suppress(httpx.TransportError):
            return httpx.post(server.url, content=b"x" * 800_000, trust_env=False).status_code
        return 0

    def small_one_beside_them() -> str:
        """The answer to a small form once a large one is refused; "" if the one before it was refused instead."""
        with closing(server.connected(head + b"x" * 1_040_000)):
            return httpx.post(server.url, content=b"x" * 60_000, trust_env=False).text if status() == 503 else ""

    assert wait_for(small_one_beside_them) == "page"
    wait_for(lambda: status() == 200)


def test_an_answer_that_is_not_read_ends_and_gives_its_thread_back(site: Make) -> None:
    server = site(**QUICK, threads=4)
    peers = [server.connected(b"GET /git/endless HTTP/1.1\r\nHost: x\r\n\r\n") for _ in range(4)]
    assert len(server.get("/git/file").content) == 8 * MIB
    wait_for(lambda: len(server.errors) == 4)
    for peer in peers:
        peer.close()


def test_pages_and_transfers_take_no_thread_of_runners_and_of_the_health_check(site: Make) -> None:
    server = site(threads=8)
    peers = [server.connected(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") for _ in range(20)]
    peers += [server.connected(b"GET /git/endless HTTP/1.1\r\nHost: x\r\n\r\n") for _ in range(20)]
    server.held.acquire()
    assert [server.get(path).status_code for path in ("/healthz", "/api/runner/x")] == [200, 200]
    for peer in peers:
        peer.close()


def test_when_too_many_requests_wait_more_are_answered_later(site: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("web.http.serving.lanes.WAITING", 3)
    server = site(threads=8)
    peers = [server.connected(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") for _ in range(5)]
    wait_for(lambda: server.get("/", headers={"Connection": "close"}).status_code == 503)
    server.free.set()
    for peer in peers:
        assert peer.recv(100).startswith(b"HTTP/1.1 200 ")
        peer.close()


def test_beyond_the_connections_of_an_address_those_that_wait_for_their_peer_are_closed(site: Make) -> None:
    server = site(connections_per_address=10)
    kept = server.connected(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    server.held.acquire()
    slow = [server.connected(b"GET / HT") for _ in range(30)]
    assert server.get("/healthz").status_code == 200
    assert [read_all(peer) for peer in slow[:20]] == [b""] * 20
    server.free.set()
    assert kept.recv(100).startswith(b"HTTP/1.1 200 ")
    for peer in [*slow, kept]:
        peer.close()


def test_beyond_the_connections_in_all_those_that_wait_for_their_peer_are_closed(site: Make) -> None:
    server = site(connections=10)
    slow = [server.connected(b"GET / HT", f"127.0.0.{number % 5 + 1}") for number in range(30)]
    assert server.get("/healthz").status_code == 200
    closed = select.select(slow, [], [], 60)[0]
    assert len(closed) == 21  # for the last 20 of them and the health check
    assert [read_all(peer) for peer in closed] == [b""] * 21
    assert slow[-1] not in closed
    for peer in slow:
        peer.close()


def test_the_connections_of_one_address_are_not_those_of_another(site: Make) -> None:
    server = site(connections_per_address=2)
    peers = [server.connected(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") for _ in range(2)]
    for _ in peers:
        server.held.acquire()
    assert server.answer(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n") == b""
    with closing(server.connected(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", "127.0.0.2")) as other:
        assert other.recv(100).startswith(b"HTTP/1.1 200 ")
    for peer in peers:
        peer.close()


def test_trusted_proxies_may_have_any_number(site: Make) -> None:
    server = site(connections_per_address=2, trusted_proxies=["127.0.0.0/8"])
    peers = [server.connected(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") for _ in range(4)]
    for _ in peers:
        server.held.acquire()
    assert server.get("/healthz").status_code == 200
    for peer in peers:
        peer.close()


@pytest.mark.parametrize("chunked", [True, False])
def test_a_large_body_is_handed_on_as_it_comes(site: Make, chunked: bool) -> None:
    server, block = site(), os.urandom(MIB)
    body = (block for _ in range(50)) if chunked else block * 50
    answer = httpx.post(f"{server.url}/git/hash", content=body, timeout=60, trust_env=False)
    assert answer.text == hashlib.sha256(block * 50).hexdigest()


def test_a_client_that_leaves_ends_the_request_that_reads_its_body(site: Make) -> None:
    server = site()
    server.connected(b"POST /git/hash HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n\r\n" + b"x" * MIB).close()
    wait_for(lambda: server.errors)


def test_a_client_that_leaves_ends_the_answer_that_it_reads(site: Make) -> None:
    server = site()
    peer = server.connected(b"GET /git/endless HTTP/1.1\r\nHost: x\r\n\r\n")
    assert peer.recv(100)
    peer.close()
    wait_for(lambda: server.errors == ["ended"])


def test_ranges_heads_and_pipelines(site: Make) -> None:
    server = site()
    part = server.get("/git/file", headers={"Range": "bytes=5-104"})
    assert (part.status_code, part.content) == (206, server.large.read_bytes()[5:105])
    assert server.get("/git/file").content == server.large.read_bytes()
    head = httpx.head(f"{server.url}/git/file", trust_env=False)
    assert (head.content, head.headers["Content-Length"]) == (b"", str(8 * MIB))
    once, last = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /healthz HTTP/1.0\r\n\r\n"
    assert server.answer(once * 3 + last).count(b"\r\n\r\nok\n") == 4


def test_head_and_body_of_an_answer_arrive_together(site: Make) -> None:
    """Each part that is sent alone costs a turn of the event loop, and wakes the peer once more."""
    with closing(site().connected(b"")) as peer:
        for _ in range(20):
            peer.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert peer.recv(MIB).endswith(b"\r\n\r\nok\n")


def test_a_body_is_asked_for_when_its_sender_waits_to_be_asked(site: Make) -> None:
    server = site()
    head = "POST {} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\nConnection: close\r\n\r\n"
    with closing(server.connected(head.format("/git/hash").encode())) as peer:
        assert peer.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        peer.sendall(b"ab")
        assert hashlib.sha256(b"ab").hexdigest().encode() in read_all(peer)
    assert server.answer(head.format("/hooks/any/github").encode()).startswith(b"HTTP/1.1 401 ")


def test_what_the_application_sees_of_a_request(site: Make) -> None:
    server = site()
    server.free.set()
    head = b"POST /%C3%A4/..?a=%2F HTTP/1.1\r\nHost: x\r\nX-A: 1\r\nX-A: 2\r\nX_A: 3\r\nCookie: a=1\r\nCookie: b=2\r\n"
    raw = (
        head.replace(b"/%C3%A4/..", b"/") + b"Content-Type: text/x\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc"
    )
    assert b"page" in server.answer(raw)
    seen = server.environ
    assert (seen["HTTP_X_A"], seen["HTTP_COOKIE"], seen["QUERY_STRING"]) == ("1,2", "a=1; b=2", "a=%2F")
    assert (seen["CONTENT_TYPE"], seen["CONTENT_LENGTH"], seen["REMOTE_ADDR"]) == ("text/x", "3", "127.0.0.1")
    assert server.answer(head + b"Connection: close\r\n\r\n").startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 40_000,
        b"GET /" + b"x" * 40_000,
        b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: x\r\n" % n for n in range(200)) + b"\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX : y\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_what_is_no_request_or_too_large_a_head_is_refused(site: Make, head: bytes) -> None:
    server = site()
    assert server.answer(head).startswith(b"HTTP/1.1 400 ")
    assert server.environ == {}
