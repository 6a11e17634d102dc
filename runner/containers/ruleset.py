"""Whether the machine's firewall rules have changed at all, asked without starting a program."""

from __future__ import annotations

import functools
import socket
import struct
import subprocess
from collections.abc import Collection

NETLINK_NETFILTER = 12
GET_GENERATION, NEW_GENERATION = (10 << 8) | 16, (10 << 8) | 15  # linux/netfilter/nf_tables.h
NLM_F_REQUEST, NFTA_GEN_ID = 1, 1
TIMEOUT_S = 5.0


def read_generation(programs: Collection[str]) -> int | None:
    """Return the generation of this network namespace's ruleset: a number that every change increases.

    Returns None if one of the iptables programs does not use nftables, or if the kernel does not answer: the rules may
    then have changed.
    """
    if not all(_uses_nftables(program) for program in programs):
        return None
    request = struct.pack("=IHHIIBBH", 20, GET_GENERATION, NLM_F_REQUEST, 0, 0, socket.AF_UNSPEC, 0, 0)
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as kernel:
            kernel.settimeout(TIMEOUT_S)
            kernel.send(request)
            answer = kernel.recv(4096)
    except OSError:
        return None
    if len(answer) < 28 or struct.unpack_from("=H", answer, 4)[0] != NEW_GENERATION:
        return None
    kind, number = struct.unpack_from("=H", answer, 22)[0], struct.unpack_from(">I", answer, 24)[0]
    return int(number) if kind == NFTA_GEN_ID else None


@functools.cache
def _uses_nftables(program: str) -> bool:
    version = subprocess.run([program, "-V"], capture_output=True, text=True, check=True, timeout=TIMEOUT_S)
    return "nf_tables" in version.stdout
