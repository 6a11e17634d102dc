"""A network namespace for a runner, connected to the machine's by a link that tests can cut."""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import leftovers

_numbers = itertools.count()


@dataclass(frozen=True)
class Link:
    """`here` is the server's address on the link; a command that begins with `prefix` runs at its other end."""

    namespace: str
    device: str
    here: str

    @property
    def prefix(self) -> tuple[str, ...]:
        return ("ip", "netns", "exec", self.namespace)

    def cut(self) -> None:
        """Drop all packets in both directions, without an error on either side."""
        self._filter("-A")

    def heal(self) -> None:
        self._filter("-D")

    def _filter(self, how: str) -> None:
        for chain, device in (("INPUT", "-i"), ("OUTPUT", "-o")):
            command = [*self.prefix, "iptables", "-w", how, chain, device, "peer", "-j", "DROP"]
            subprocess.run(command, check=True, capture_output=True)


@contextlib.contextmanager
def link() -> Iterator[Link]:
    """A namespace with a link; both are removed afterwards."""
    number = next(_numbers)
    name = f"{leftovers.LINK}{os.getpid() % 10000}x{number}"
    made = Link(name, name, f"10.231.{number}.1")
    ip("netns", "add", made.namespace)
    try:
        ip("link", "add", made.device, "type", "veth", "peer", "name", "peer", "netns", made.namespace)
        ip("address", "add", f"{made.here}/24", "dev", made.device)
        ip("link", "set", made.device, "up")
        ip("-n", made.namespace, "address", "add", f"10.231.{number}.2/24", "dev", "peer")
        ip("-n", made.namespace, "link", "set", "peer", "up")
        ip("-n", made.namespace, "link", "set", "lo", "up")
        yield made
    finally:
        ip("netns", "delete", made.namespace)  # its end of the link goes with it, and so does the other


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
