"""Addresses that URLs and image names of a repository must not lead to: this machine, link-local, cloud metadata.

Applies to inputs and image registries. The machine's own addresses are queried from the kernel (rtnetlink).
"""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

# metadata services of clouds that are not link-local
METADATA = frozenset(
    {
        ip_address("100.100.100.200"),  # Alibaba
        ip_address("168.63.129.16"),  # Azure
        ip_address("192.0.0.192"),  # Oracle
        ip_address("fd00:ec2::254"),  # Amazon
        ip_address("fd20:ce::254"),  # Google
    }
)
LINK_LOCAL = (ip_network("169.254.0.0/16"), ip_network("fe80::/10"))  # most clouds' metadata services are there
UNREACHABLE = (*LINK_LOCAL, *(ip_network(ip) for ip in sorted(METADATA, key=str)))  # from containers
THIS_NETWORK = ip_network("0.0.0.0/8")
NAT64 = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
COMPATIBLE = IPv6Network("::/96")

# linux/rtnetlink.h, linux/netlink.h
RTM_GETROUTE, NLM_F_REQUEST, NLMSG_ERROR, RTA_DST, RTN_LOCAL = 26, 1, 2, 1, 2
MESSAGE, ROUTE, ATTRIBUTE = struct.Struct("=IHHII"), struct.Struct("=BBBBBBBBI"), struct.Struct("=HH")


def explain_refusal_here(address: str) -> str | None:
    """Like `explain_refusal`, but also refuses this machine's own addresses according to the kernel's current routes."""
    if why := explain_refusal(address):
        return why
    ip = ip_address(address.partition("%")[0])
    return "an address of this machine" if any(map(_is_local, (ip, *_inside(ip)))) else None


def explain_refusal(address: str) -> str | None:
    """Return why connections to `address` are refused, or None if they are allowed. Private networks are allowed.

    An IPv4 address embedded in an IPv6 one (mapped, compatible, NAT64, 6to4, Teredo) is checked too.
    """
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return "no address"
    for candidate in (ip, *_inside(ip)):
        if why := _kind(candidate):
            return why
    return None


def is_allowed(host: str, address: str, allow_hosts: tuple[str, ...]) -> bool:
    """Whether the list contains the host or the address; this overrides `explain_refusal`."""
    allowed = {_canonical(item) for item in allow_hosts}
    return _canonical(host) in allowed or _canonical(address) in allowed


def _canonical(host: str) -> str:
    host = host.strip("[]").rstrip(".").lower()
    try:
        return str(ip_address(host.partition("%")[0]))
    except ValueError:
        return host


def _inside(ip: IPv4Address | IPv6Address) -> list[IPv4Address]:
    if isinstance(ip, IPv4Address):
        return []
    if ip.ipv4_mapped:
        return [ip.ipv4_mapped]
    found = [IPv4Address(int(ip) & 0xFFFFFFFF)] if any(ip in network for network in (*NAT64, COMPATIBLE)) else []
    found += [ip.sixtofour] if ip.sixtofour else []
    return found + ([ip.teredo[1]] if ip.teredo else [])


def _kind(ip: IPv4Address | IPv6Address) -> str | None:
    if ip in METADATA:
        return "a metadata service"
    kinds = {
        "a loopback address": ip.is_loopback,
        "an unspecified address": ip.is_unspecified or ip in THIS_NETWORK,
        "a link-local address": ip.is_link_local,
        "a multicast address": ip.is_multicast,
        "a reserved address": ip.is_reserved and not _has_ipv4_inside(ip),
    }
    return next((kind for kind, applies in kinds.items() if applies), None)


def _is_local(ip: IPv4Address | IPv6Address) -> bool:
    """Whether the kernel delivers packets for this address to the machine itself (rtnetlink(7)).

    Comparing interface addresses is not enough: routes of type local can cover whole networks.
    """
    family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
    body = ROUTE.pack(family, ip.max_prefixlen, 0, 0, 0, 0, 0, 0, 0)
    body += ATTRIBUTE.pack(ATTRIBUTE.size + len(ip.packed), RTA_DST) + ip.packed
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
        kernel.send(MESSAGE.pack(MESSAGE.size + len(body), RTM_GETROUTE, NLM_F_REQUEST, 1, 0) + body)
        answer = kernel.recv(65536)
    if MESSAGE.unpack_from(answer)[1] == NLMSG_ERROR:  # no route
        return False
    return bool(ROUTE.unpack_from(answer, MESSAGE.size)[7] == RTN_LOCAL)


def _has_ipv4_inside(ip: IPv4Address | IPv6Address) -> bool:
    return bool(_inside(ip))
