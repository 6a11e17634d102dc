"""The relay of an execution: which clients it answers, and the cost of idle connections."""

from __future__ import annotations

import contextlib
import json
import select
import socket
from collections.abc import Iterator
from http.client import HTTPConnection

import pytest
from instance import wait_for

from runner.execution import relay
from runner.execution.relay import CONNECTIONS, Relay

HERE, OWN, OTHER = "127.0.0.1", "127.0.0.2", "127.0.0.3"  # the relay, its container, another container
REQUEST = b"""POST /status_detail HTTP/1.1\r
Authorization: Bearer token\r
Content-Length: 26\r
\r
{"status_detail": "early"}"""


class Details(list[str]):
    """A relay with what programs have told it."""

    def __init__(self) -> None:
        self.relay = Relay(HERE, [0], "token", {"a": {"name": "a", "files": []}}, self.append)

    def connect(self, source: str) -> socket.socket:
        return socket.create_connection((HERE, self.relay.port), 10, source_address=(source, 0))

    def tell(self, source: str, text: str = "half way") -> int:
        """The status of the answer. Raises OSError when the connection is dropped."""
        connection = HTTPConnection(HERE, self.relay.port, timeout=10, source_address=(source, 0))
        with contextlib.closing(connection):
            headers = {"Authorization": "Bearer token"}
            connection.request("POST", "/status_detail", json.dumps({"status_detail": text}), headers)
            return connection.getresponse().status


@pytest.fixture
def details() -> Iterator[Details]:
    made = Details()
    yield made
    made.relay.close()


def dropped(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


def test_only_its_own_container_is_answered(details: Details) -> None:
    details.relay.serve_only([OWN])
    with pytest.raises(ConnectionError):
        details.tell(OTHER)
    assert details.tell(OWN) == 200
    assert details == ["half way"]


def test_a_request_before_the_addresses_are_known_waits_for_them(details: Details) -> None:
    with details.connect(OWN) as own, details.connect(OTHER) as other:
        for early in (own, other):
            early.sendall(REQUEST)
        assert select.select([own, other], [], [], 0.3)[0] == []
        details.relay.serve_only([OWN])
        assert own.recv(12) == b"HTTP/1.0 200"
        assert dropped(other)
    assert details == ["early"]


def test_idle_connections_of_others_take_no_room(details: Details) -> None:
    details.relay.serve_only([OWN])
    with contextlib.ExitStack() as stack:
        for _ in range(2 * CONNECTIONS):
            stack.enter_context(details.connect(OTHER))
        assert details.tell(OWN) == 200


def test_a_request_that_does_not_arrive_or_drips_in_is_cut(details: Details, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "REQUEST_S", 0.2)
    details.relay.serve_only([OWN])
    with contextlib.ExitStack() as stack:
        idle = [stack.enter_context(details.connect(OWN)) for _ in range(CONNECTIONS)]

        def cut_while_dripping() -> bool:
            try:
                idle[0].send(b"G")
                return idle[0].recv(1) == b""
            except BlockingIOError:
                return False
            except ConnectionError:
                return True

        idle[0].setblocking(False)
        wait_for(cut_while_dripping)
        assert all(map(dropped, idle[1:]))
        assert details.tell(OWN) == 200
