"""Run the WSGI application: the event loop reads requests and writes responses, lanes' threads run the views.

A thread is taken once the body has arrived, or as much of it as the lane reads ahead, and released once the response is
complete. A response of more than BEHIND bytes is written while it is produced, which holds the thread until the client
has read it.

Views check tokens before they read further, so only a client with a token can hold a thread by sending slowly. Bodies
that are accepted without a token are read whole before a thread is taken: forms of up to 1 MiB, within 64 MiB for all
of them, and webhooks of up to `hook_body`, within `hook_memory`. The lane reads the first 64 KiB of other bodies
ahead. An answer of up to 256 KiB is handed to the event loop, which frees its thread.
"""

from __future__ import annotations

import asyncio
import io
import logging
import sys
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Coroutine, Iterable, MutableMapping
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

from flask import Flask

from core.config import KIB
from web.http import auth, changes, streams, webhooks
from web.http.auth import Server
from web.http.serving.connections import ClientConnection
from web.http.serving.lanes import Lane, Lanes
from web.services.deliveries import intake

BEHIND = 256 * KIB
LOOKS_PER_S = 500  # of all followers together; one costs 0.7 ms of processor time
WATCH_S, WATCH_GAP_S = 0.5, 0.1  # other processes write too, without waking this one

logger = logging.getLogger(__name__)
BUSY = b"The server is busy. Try again in a moment.\n"
BUSY_HEADERS = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(BUSY)), (b"retry-after", b"1")]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Coroutine[Any, Any, MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Coroutine[Any, Any, None]]
Headers = list[tuple[bytes, bytes]]


class Gone(OSError):
    """The client has closed the connection."""

    def __init__(self) -> None:
        super().__init__("the client has closed the connection")


@dataclass
class Unsent:
    """The unsent part of a response when its thread has finished; `status` is 0 if the head was sent."""

    status: int = 0
    headers: Headers | None = None
    body: bytes = b""
    follower: streams.Follower | None = None


class Body(io.RawIOBase):
    """The body of a request, read by a thread: first the part read ahead, then the rest from the connection."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange, self._pieces = exchange, deque([memoryview(exchange.ahead)])

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer, except at the end of the body."""
        count = self._take(buffer)
        if count < len(buffer) and not self._exchange.complete:
            self._pieces.extend(map(memoryview, self._exchange.more(len(buffer) - count)))
            count += self._take(buffer[count:])
        return count

    def _take(self, buffer: Any) -> int:
        count = 0
        while self._pieces and count < len(buffer):
            piece = self._pieces.popleft()
            taken = min(len(buffer) - count, len(piece))
            buffer[count : count + taken] = piece[:taken]
            count += taken
            if taken < len(piece):
                self._pieces.appendleft(piece[taken:])
        return count


class Exchange:
    """One request and its response."""

    def __init__(self, scope: Scope, receive_: Receive, send: Send) -> None:
        self.scope, self._receive, self._send = scope, receive_, send
        self.connection: ClientConnection = scope["extensions"]["pushmill"]["connection"]
        self.loop = asyncio.get_running_loop()
        self.ahead, self.complete = b"", False
        self._status, self._headers = 0, Headers()

    # on the event loop

    async def read_ahead(self, lane: Lane, share: intake.Share) -> None:
        """Read the body, or as much of it as the lane reads ahead. Raises Gone and intake.Full."""
        pieces, size = list[bytes](), 0
        while not self.complete and size < lane.ahead:
            piece = await self._next()
            size += len(piece)
            share.take(max(0, size - lane.free - share.taken))
            pieces.append(piece)
        self.ahead = b"".join(pieces)

    async def _read(self, wanted: int) -> list[bytes]:
        pieces = list[bytes]()
        while not self.complete and wanted > 0:
            piece = await self._next()
            wanted -= len(piece)
            pieces.append(piece)
        return pieces

    async def _next(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise Gone
        self.complete = not message["more_body"]
        return bytes(message["body"])

    async def start(self, status: int, headers: Headers) -> None:
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def write(self, body: bytes, *, more: bool) -> None:
        await self._send({"type": "http.response.body", "body": body, "more_body": more})

    async def refuse(self) -> None:
        """Answer that the server is busy."""
        await self.start(503, BUSY_HEADERS)
        await self.write(BUSY, more=False)

    # on a thread

    def run(self, app: Flask, environ: dict[str, Any]) -> Unsent:
        """Run the application, unless the client disconnected while it waited for a thread: then raise Gone."""
        self.connection.taken = True
        if self.connection.lost:
            raise Gone
        made = app(environ, self._start_response)
        try:
            body, sending = self._sent(made)
        finally:
            if hasattr(made, "close"):
                made.close()
        follower: streams.Follower | None = environ.get(streams.FOLLOWER)
        return Unsent(body=body) if sending else Unsent(self._status, self._headers, body, follower)

    def more(self, wanted: int) -> list[bytes]:
        """Return the next `wanted` bytes of the body or slightly more, fewer at its end."""
        pieces: list[bytes] = self._on_loop(self._read(wanted))
        return pieces

    def _sent(self, made: Iterable[bytes]) -> tuple[bytes, bool]:
        """Collect the output, sending it in parts once it is large; return the rest, and whether any was sent."""
        pieces, size, sending = list[bytes](), 0, False
        for piece in made:
            pieces.append(piece)
            size += len(piece)
            if size < BEHIND and not (self._streams and piece):
                continue
            if not sending:
                self._on_loop(self.start(self._status, self._headers))
            self._on_loop(self.write(b"".join(pieces), more=True))
            pieces, size, sending = [], 0, True
        return b"".join(pieces), sending

    @property
    def _streams(self) -> bool:
        """Whether the length is unknown, as of git's responses: each part is then sent at once."""
        return all(name.lower() != b"content-length" for name, _ in self._headers)

    def _start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], None]:
        if exc_info and self._status:
            raise exc_info[1]
        self._status = int(status.partition(" ")[0])
        self._headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        return _no_write

    def _on_loop(self, work: Coroutine[Any, Any, Any]) -> Any:
        if self.connection.lost:
            work.close()
            raise Gone
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()


class Bridge:
    """An ASGI application that runs a Flask application on the threads of its lanes."""

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._server: Server = app.extensions["pushmill"]
        self.config = self._server.config.server
        hooks: webhooks.Intake = app.extensions[webhooks.EXTENSION]
        self._lanes = Lanes(self.config, hooks.memory)
        self._wakers: dict[str, set[asyncio.Event]] = defaultdict(set)
        self._followed = 0
        self._changed = asyncio.Event()  # in this process, since the watch looked
        self._watching: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive_: Receive, send: Send) -> None:
        exchange = Exchange(scope, receive_, send)
        environ = build_environ(scope)
        lane = self._lanes.of(scope["path"])
        with suppress(Gone), lane.memory.share() as share:
            await self._serve(exchange, environ, lane, share)

    async def _serve(self, exchange: Exchange, environ: dict[str, Any], lane: Lane, share: intake.Share) -> None:
        is_hook = lane is self._lanes.hooks
        try:
            if not is_hook or webhooks.is_acceptable(self.config, environ):  # else refused, unread
                await exchange.read_ahead(lane, share)
        except intake.Full:
            if not is_hook:
                await exchange.refuse()
                return
            environ[webhooks.NO_MEMORY] = True  # its view refuses the request and records that
        environ["wsgi.input"] = io.BytesIO(exchange.ahead) if exchange.complete else io.BufferedReader(Body(exchange))
        try:
            answer = await lane.pool.run(lambda: exchange.run(self._app, environ))
        except asyncio.QueueFull:
            await exchange.refuse()
        else:
            await self._finish(exchange, answer)

    async def _finish(self, exchange: Exchange, answer: Unsent) -> None:
        with closing(answer.follower) if answer.follower else nullcontext():
            if answer.status:
                if answer.follower is None and exchange.scope["method"] != "HEAD":
                    exchange.connection.transport.hold()  # until the body is written
                await exchange.start(answer.status, answer.headers or [])
            if answer.follower is not None:
                await self._follow(exchange, answer.follower)
            else:
                await exchange.write(answer.body, more=False)

    async def _follow(self, exchange: Exchange, follower: streams.Follower) -> None:
        """Send the events of a live page, without holding a thread between two looks."""
        woken, topics = asyncio.Event(), follower.topics
        self._index(woken, frozenset(), topics)  # before the first look, so that it misses nothing
        self._followed += 1
        self._start_watching(exchange.loop)
        try:
            while not exchange.connection.lost and not exchange.connection.ending:
                woken.clear()
                part, ended = await self._lanes.live.run(follower.look)
                if part:
                    await exchange.write(part, more=True)
                if ended:
                    break
                before, topics = topics, follower.topics
                self._index(woken, before, topics)
                if not follower.behind:
                    await self._pause(exchange.connection, follower, woken)
            await exchange.write(b"", more=False)
        finally:
            self._followed -= 1
            self._index(woken, topics, frozenset())

    def _index(self, woken: asyncio.Event, before: frozenset[str], topics: frozenset[str]) -> None:
        """Update the topics whose changes set an event."""
        for topic in before - topics:
            self._wakers[topic].discard(woken)
            if not self._wakers[topic]:
                del self._wakers[topic]
        for topic in topics - before:
            self._wakers[topic].add(woken)

    async def _pause(self, connection: ClientConnection, follower: streams.Follower, woken: asyncio.Event) -> None:
        """Wait until something changed, or may have, or the stream must end. The more followers, the longer."""
        gap = max(follower.gap_s, self._followed / LOOKS_PER_S)
        ended = asyncio.ensure_future(connection.ended.wait())
        changed = asyncio.ensure_future(woken.wait())
        try:
            await asyncio.wait([ended], timeout=gap)
            await asyncio.wait([ended, changed], timeout=max(follower.poll_s, gap), return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended.cancel()
            changed.cancel()

    def _start_watching(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._watching is not None:
            return

        def tell(execution: str | None) -> None:
            if execution is None or execution in self._wakers:
                loop.call_soon_threadsafe(self._on_change, execution)

        self._server.announcer.subscribe(tell)
        self._watching = loop.create_task(self._watch())

    async def _watch(self) -> None:
        """Look for changes for all followers together, while there are any."""
        watch: changes.ChangeWatch = self._app.extensions[changes.WATCH]

        def look() -> Collection[str]:
            with self._app.app_context():
                return watch.look(auth.get_db())

        while True:
            self._changed.clear()
            if self._followed:
                try:
                    self._wake(await self._lanes.live.run(look))
                except Exception:
                    logger.exception("cannot look for changes")
            await asyncio.sleep(WATCH_GAP_S)
            timer = asyncio.get_running_loop().call_later(WATCH_S, self._changed.set)
            await self._changed.wait()
            timer.cancel()

    def _on_change(self, execution: str | None) -> None:
        """Wake the followers of an execution that this process has changed; for None all, and the watch."""
        self._wake((execution or streams.EXECUTIONS,))
        if execution is None:
            self._changed.set()

    def _wake(self, topics: Collection[str]) -> None:
        for topic in topics:
            for woken in self._wakers.get(topic, ()):
                woken.set()


def build_environ(scope: Scope) -> dict[str, Any]:
    """Return the WSGI environment of an ASGI scope, without `wsgi.input`."""
    server, client = scope["server"] or ("", 0), scope["client"] or ("", 0)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(scope["raw_path"]).decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_NAME": server[0],
        "SERVER_PORT": str(server[1]),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "REMOTE_ADDR": client[0],
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope["scheme"],
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
    }
    for name, value in scope["headers"]:
        if b"_" in name:  # would become the same variable as the name with a dash, which a proxy may have set
            continue
        key = name.decode("latin-1").upper().replace("-", "_")
        key = key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"
        text = value.decode("latin-1")
        environ[key] = f"{environ[key]}{'; ' if key == 'HTTP_COOKIE' else ','}{text}" if key in environ else text
    return environ


def _no_write(_: bytes) -> None:
    raise NotImplementedError("answers are made by iteration")
