"""Deletes entries from the kernel's table of tracked connections, as Docker does when a container leaves a network.

Otherwise packets of the last container's peers would be forwarded to the next one that has the same address. Speaks
netlink, since `conntrack` is rarely installed: linux/netfilter/nfnetlink_conntrack.h.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator

NETFILTER = 12  # NETLINK_NETFILTER
GET, DELETE = 0x101, 0x102  # IPCTNL_MSG_CT_GET and IPCTNL_MSG_CT_DELETE of NFNL_SUBSYS_CTNETLINK
REQUEST, ACKNOWLEDGE, DUMP = 0x1, 0x4, 0x300
ERROR, DONE = 2, 3
HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence number, port
FAMILY = struct.pack("=BBH", socket.AF_INET, 0, 0)  # struct nfgenmsg
ATTRIBUTE = struct.Struct("=HH")  # length, type
TYPE_MASK = 0x3FFF
ORIGINAL, REPLY = 1, 2  # CTA_TUPLE_ORIG and CTA_TUPLE_REPLY
SOURCE, DESTINATION = 1, 2  # CTA_IP_V4_SRC and CTA_IP_V4_DST
BUFFER = 1 << 16
TIMEOUT_S = 5.0


def forget(address: str) -> None:
    """Delete the tracked connections from and to an IPv4 address. Raises OSError."""
    with _opened() as netlink:
        for connection in list_tracked(address):
            netlink.send(_message(DELETE, REQUEST | ACKNOWLEDGE, connection))
            for kind, body in _messages(netlink.recv(BUFFER)):
                _check(kind, body)


def list_tracked(address: str) -> list[bytes]:
    """Return what identifies each tracked connection from or to an IPv4 address, as the kernel encodes it."""
    packed = socket.inet_aton(address)
    ends = [ATTRIBUTE.pack(8, end) + packed for end in (SOURCE, DESTINATION)]
    with _opened() as netlink:
        return [
            original
            for original, reply in _connections(netlink)
            if any(end in part for end in ends for part in (original, reply))
        ]


def _opened() -> socket.socket:
    netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETFILTER)
    netlink.settimeout(TIMEOUT_S)
    return netlink


def _connections(netlink: socket.socket) -> Iterator[tuple[bytes, bytes]]:
    """Yield two attributes of each tracked connection: what identifies it, and its reply direction."""
    netlink.send(_message(GET, REQUEST | DUMP, b""))
    while True:
        for kind, body in _messages(netlink.recv(BUFFER)):
            if kind == DONE:
                return
            _check(kind, body)
            found = dict(_attributes(body[len(FAMILY) :]))
            yield found[ORIGINAL], found.get(REPLY, b"")


def _message(kind: int, flags: int, attributes: bytes) -> bytes:
    body = FAMILY + attributes
    return HEADER.pack(HEADER.size + len(body), kind, flags, 0, 0) + body


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    while data:
        length, kind, _, _, _ = HEADER.unpack_from(data)
        yield kind, data[HEADER.size : length]
        data = data[_aligned(length) :]


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the type and the whole bytes, header included, of each attribute."""
    while data:
        length, kind = ATTRIBUTE.unpack_from(data)
        yield kind & TYPE_MASK, data[: _aligned(length)]
        data = data[_aligned(length) :]


def _aligned(length: int) -> int:
    return (length + 3) & ~3


def _check(kind: int, body: bytes) -> None:
    """Raise OSError for an error message, except for a connection that has ended meanwhile."""
    number = -struct.unpack_from("=i", body)[0] if kind == ERROR else 0
    if number and number != 2:  # ENOENT
        raise OSError(number, f"connection tracking: {os.strerror(number)}")
