"""Peers that try to block a server by being slow: they open connections, keep them open, and reopen closed ones."""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from hooks import signatures

OPENED_AT_ONCE, OPENED_EACH_LOOK = 1000, 10  # at the beginning and then
LOOK_S = 0.05


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What is sent at once, and what then each second; such a peer reads nothing."""

    first: bytes
    then: bytes = b""


def _post(path: str, size: int, *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {size}", *headers, "", "a"]
    return "\r\n".join(lines).encode()


SIGNATURE = f"X-Hub-Signature-256: {signatures.sign(b'', b'nobody')}"
KINDS = {
    "silent": Kind(first=b""),
    "half a head": Kind(first=b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ", then=b"x"),
    "slow hook bodies": Kind(first=_post("/hooks/any/github", 1_000_000, SIGNATURE), then=b"x"),
    "slow forms": Kind(first=_post("/login", 500_000), then=b"x"),
    "slow reports": Kind(first=_post("/api/runner/heartbeat", 50_000, "Authorization: Token x"), then=b"x"),
    "slow packs": Kind(first=_post("/git/any.git/git-receive-pack", 10**9, "Authorization: Basic eDp4"), then=b"x"),
    "no reader": Kind(first=b"GET /static/any/pushmill.css HTTP/1.1\r\nHost: x\r\n\r\n" * 10),
}


class Attack:
    """`count` connections of the given kinds by turns, kept up by a thread."""

    def __init__(self, port: int, count: int, kinds: list[Kind], host: str = "127.0.0.1") -> None:
        self._address, self._count, self._kinds = (host, port), count, kinds
        self._sockets: dict[socket.socket, Kind] = {}
        self._over = threading.Event()
        self._turn = self.opened = 0
        self._thread = threading.Thread(target=self._keep_up, daemon=True)

    @property
    def connections(self) -> set[socket.socket]:
        """Those that are open, but for peers with so much unread that they cannot see their end."""
        return {each for each, kind in list(self._sockets.items()) if kind is not KINDS["no reader"]}

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()
        for each in self._sockets:
            each.close()

    def _keep_up(self) -> None:
        due = time.monotonic()
        while not self._over.wait(LOOK_S):
            self._drop_closed()
            most = OPENED_EACH_LOOK if self.opened >= self._count else OPENED_AT_ONCE
            for _ in range(min(most, self._count - len(self._sockets))):
                self._open()
            if time.monotonic() >= due:
                due += 1.0
                for each, kind in list(self._sockets.items()):
                    self._send(each, kind.then)

    def _open(self) -> None:
        kind = self._kinds[self._turn % len(self._kinds)]
        self._turn += 1
        each = socket.socket()
        each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        each.settimeout(1.0)
        try:
            each.connect(self._address)
        except OSError:
            each.close()
            return
        each.setblocking(False)
        self._sockets[each] = kind
        self.opened += 1
        self._send(each, kind.first)

    def _send(self, each: socket.socket, what: bytes) -> None:
        try:
            each.send(what)
        except BlockingIOError:
            return
        except OSError:
            self._forget(each)

    def _drop_closed(self) -> None:
        with selectors.PollSelector() as selector:
            for each in self._sockets:
                selector.register(each, selectors.EVENT_READ)
            for key, _ in selector.select(0):
                each = key.fileobj
                assert isinstance(each, socket.socket)
                try:
                    gone = each.recv(1, socket.MSG_PEEK) == b""
                except BlockingIOError:
                    gone = False
                except OSError:
                    gone = True
                if gone or b"HTTP/1.1 4" in self._peek(each):
                    self._forget(each)

    def _peek(self, each: socket.socket) -> bytes:
        try:
            return each.recv(20, socket.MSG_PEEK)
        except OSError:
            return b""

    def _forget(self, each: socket.socket) -> None:
        if self._sockets.pop(each, None):
            each.close()


@contextmanager
def attack(port: int, count: int, *names: str) -> Iterator[Attack]:
    """Connections of these kinds, of all kinds without names."""
    attack = Attack(port, count, [KINDS[name] for name in names or KINDS])
    attack.start()
    try:
        yield attack
    finally:
        attack.stop()
