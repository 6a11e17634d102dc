"""Limits of connections: how slow they may be, and how many there may be in total and per address.

uvicorn parses and writes; this adds what it lacks: deadlines, rates and counts. A timer checks them each second.

A request must send its head within `header_timeout`; bodies must arrive, and answers be read, at `min_rate`. When an
address or the process has too many connections, the one waiting longest without a thread is closed. Under an attack
that is the attacker's, since requests of honest peers are handed to a thread within milliseconds.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import time
from collections import Counter
from collections.abc import Iterable
from enum import Enum, auto
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from core.config import KIB, ServerConfig
from web.http.proxies import is_one_of

HEAD_BYTES, HEADERS = 32 * KIB, 100
SPARE_FILES = 500  # for everything but connections
LOOK_S = 1.0
SAID_S = 60.0  # minimum between two log lines about closed connections
TOO_SLOW = (
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-type: text/plain\r\ncontent-length: 23\r\n\r\n"
    b"The request is too slow"
)

logger = logging.getLogger(__name__)


class ConnectionStage(Enum):
    """What a connection is doing."""

    NEW = auto()  # no byte has arrived
    HEAD = auto()
    BODY = auto()
    WHOLE = auto()  # the whole request has arrived
    IDLE = auto()  # kept open between two requests


class CountedTransport:
    """A transport that counts the bytes written to it."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.written = 0
        self._holds, self._held = False, b""
        self.pause_reading, self.resume_reading = transport.pause_reading, transport.resume_reading
        self.close, self.abort, self.is_closing = transport.close, transport.abort, transport.is_closing
        self.get_extra_info, self.set_protocol = transport.get_extra_info, transport.set_protocol
        self.unsent = transport.get_write_buffer_size

    def hold(self) -> None:
        """Send what is written next together with the write after it: uvicorn writes heads and bodies separately."""
        self._holds = True

    def write(self, data: bytes) -> None:
        self.written += len(data)
        if self._holds:
            self._holds, self._held = False, data
            return
        if self._held:
            self._held, data = b"", self._held + data
        self._transport.write(data)


class Connections:
    """All connections of this process."""

    def __init__(self, config: ServerConfig) -> None:
        self.config = config
        self._most = min(config.connections, max(SPARE_FILES, _open_files() - SPARE_FILES))
        self._proxies = config.proxy_networks
        self._by_address: dict[str, dict[ClientConnection, None]] = {}
        # those that no thread works for, longest wait first
        self._waiting: dict[str, dict[ClientConnection, None]] = {}
        self._count = 0
        self._closed: Counter[str] = Counter()
        self._said_at = 0.0
        self._ticking = False

    def add(self, connection: ClientConnection) -> bool:
        """Add a connection; return False if the limits are reached and no other connection can be closed."""
        if not self._ticking:
            self._ticking = True
            connection.loop.call_later(LOOK_S, self._look, connection.loop)
        if not self._make_room(connection.address):
            return False
        self._by_address.setdefault(connection.address, {})[connection] = None
        self._count += 1
        self.note(connection)
        return True

    def remove(self, connection: ClientConnection) -> None:
        if connection in self._by_address.get(connection.address, {}):
            self._count -= 1
            _discard(self._by_address, connection)
            _discard(self._waiting, connection)

    def note(self, connection: ClientConnection) -> None:
        """Record that the connection's stage has just begun."""
        _discard(self._waiting, connection)
        if not connection.taken and connection in self._by_address.get(connection.address, {}):
            self._waiting.setdefault(connection.address, {})[connection] = None

    def _make_room(self, address: str) -> bool:
        known = self._by_address.get(address, {})
        if len(known) >= self.config.connections_per_address and not is_one_of(address, self._proxies):
            self._closed["connections_per_address"] += 1
            return self._close_one([self._waiting.get(address, {})], known)
        if self._count >= self._most:
            self._closed["connections"] += 1
            return self._close_one(self._waiting.values(), self._all())
        return True

    def _close_one(self, waiting: Iterable[dict[ClientConnection, None]], others: Iterable[ClientConnection]) -> bool:
        """Close the connection waiting longest without a thread, else one that does not read; False if none.

        Well-behaved requests are quick, so they are not chosen, whatever their stage.
        """
        longest = [one for of_address in waiting if (one := next((c for c in of_address if not c.taken), None))]
        found = min(longest, key=lambda one: one.since) if longest else next((o for o in others if o.is_stalled), None)
        if found is None:
            return False
        self.remove(found)
        found.transport.abort()
        return True

    def _all(self) -> list[ClientConnection]:
        return [connection for known in self._by_address.values() for connection in known]

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.call_later(LOOK_S, self._look, loop)  # first, so that an error below does not stop the timer
        now = time.monotonic()
        for connection in self._all():
            if why := connection.overdue(now):
                self._closed[why] += 1
                connection.give_up()
        if self._closed and now - self._said_at > SAID_S:
            self._said_at = now
            told = ", ".join(f"{count} by {why}" for why, count in self._closed.items())
            logger.warning("connections closed or refused ([server] in config.toml): %s", told)
            self._closed.clear()


class ClientConnection(HttpToolsProtocol):
    """One connection, whose peer must be fast enough."""

    transport: CountedTransport  # type: ignore[assignment]

    def __init__(self, connections: Connections, **given: Any) -> None:
        super().__init__(**given)
        self._connections, self._config = connections, connections.config
        self.address = ""
        self.since = time.monotonic()  # start of its stage
        self.taken = False  # a thread works on its request; set by that thread
        self.stage = ConnectionStage.NEW
        self._reading = False  # the body of a request is incomplete
        self._head_bytes = self._body_bytes = self._requests = 0
        self._read_mark = self._write_mark = (self.since, 0)
        self.ending = False  # the server is shutting down
        self.ended = asyncio.Event()  # a stream must end: the peer has left, or the server is shutting down

    @property
    def is_stalled(self) -> bool:
        """Whether data is waiting that the peer has not read."""
        return self.transport.unsent() > 0

    @property
    def lost(self) -> bool:
        return self.parser is None or self.transport.is_closing()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(CountedTransport(transport))  # type: ignore[arg-type]
        self.address = self.client[0] if self.client else ""
        if not self._connections.add(self):
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.remove(self)
        super().connection_lost(exc)
        self.ended.set()

    def data_received(self, data: bytes) -> None:
        requests = self._requests
        super().data_received(data)
        # if a request has begun in these bytes, part of them belonged to the previous one
        if self.stage == ConnectionStage.HEAD and self._requests == requests:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES and not self.lost:
                self.send_400_response("The head of the request is too large.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_bytes = 0
        self._enter(ConnectionStage.HEAD)

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(self.headers) >= HEADERS:
            raise ValueError("too many headers")  # the parser turns it into a 400 response
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self.scope["extensions"] = {"pushmill": {"connection": self}}
        self.taken, self._reading = False, True
        self._requests += 1
        self._enter(ConnectionStage.BODY)
        self._read_mark = (self.since, self._body_bytes)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._reading = False
        self._enter(ConnectionStage.IDLE if self._answered else ConnectionStage.WHOLE)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        self.taken = False
        self._enter(ConnectionStage.BODY if self._reading else ConnectionStage.IDLE)
        super().on_response_complete()

    def shutdown(self) -> None:
        self.ending = True
        super().shutdown()
        self.ended.set()

    def overdue(self, now: float) -> str:
        """Return the setting that this connection exceeds; "" if none."""
        if self.stage in (ConnectionStage.NEW, ConnectionStage.HEAD):
            return "header_timeout" if now - self.since > self._config.header_timeout else ""
        wanted = self._reading and not self.flow.read_paused
        self._read_mark, slow_reading = self._rate(now, self._read_mark, self._body_bytes, wanted)
        sent, unsent = self.transport.written, self.transport.unsent()
        self._write_mark, slow_writing = self._rate(now, self._write_mark, sent - unsent, unsent > 0)
        return "min_rate" if slow_reading or slow_writing else ""

    def give_up(self) -> None:
        """Close at once; a client that has not had a response yet gets one that gives the reason."""
        if self.stage in (ConnectionStage.HEAD, ConnectionStage.BODY) and not self.taken and not self._answering:
            self.transport.write(TOO_SLOW)
            self.transport.close()
        else:
            self.transport.abort()

    def _rate(self, now: float, mark: tuple[float, int], count: int, wanted: bool) -> tuple[tuple[float, int], bool]:
        """Return the next mark, and whether the rate since `mark` is below `min_rate`, over `slow_after`."""
        since, before = mark
        if not wanted:
            return (now, count), False
        if now - since < self._config.slow_after:
            return mark, False
        return (now, count), count - before < self._config.min_rate * (now - since)

    @property
    def _answering(self) -> bool:
        return self.cycle is not None and self.cycle.response_started

    @property
    def _answered(self) -> bool:
        return self.cycle is not None and self.cycle.response_complete

    def _enter(self, stage: ConnectionStage) -> None:
        self.stage, self.since = stage, time.monotonic()
        self._connections.note(self)


def _discard(of_address: dict[str, dict[ClientConnection, None]], connection: ClientConnection) -> None:
    known = of_address.get(connection.address, {})
    known.pop(connection, None)
    if not known:
        of_address.pop(connection.address, None)


def _open_files() -> int:
    """Return how many files this process may open, after raising the limit as far as allowed."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most if most != resource.RLIM_INFINITY else 1 << 20
