"""Network namespaces for tests: processes in one reach nothing outside it."""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

from leftovers import LINK

_numbers = itertools.count()


@dataclass(frozen=True)
class Namespace:
    name: str

    @property
    def prefix(self) -> tuple[str, ...]:
        """A command that begins with it runs inside."""
        return ("ip", "netns", "exec", self.name)

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*self.prefix, *command], capture_output=True, text=True, check=check)

    def ip(self, *arguments: str) -> None:
        subprocess.run(["ip", "-n", self.name, *arguments], capture_output=True, check=True)

    def join(self, device: str, other: Namespace, other_device: str) -> None:
        """A cable between two namespaces."""
        self.ip("link", "add", device, "type", "veth", "peer", "name", other_device, "netns", other.name)
        self.ip("link", "set", device, "up")
        other.ip("link", "set", other_device, "up")


@contextlib.contextmanager
def namespace() -> Iterator[Namespace]:
    """An empty namespace, whose loopback is up; gone afterwards with its devices."""
    made = Namespace(f"{LINK}n{os.getpid()}x{next(_numbers)}")
    subprocess.run(["ip", "netns", "add", made.name], capture_output=True, check=True)
    try:
        made.ip("link", "set", "lo", "up")
        yield made
    finally:
        subprocess.run(["ip", "netns", "delete", made.name], capture_output=True, check=True)
