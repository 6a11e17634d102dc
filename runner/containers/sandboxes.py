"""Network sandboxes: containers that only wait, and whose network namespace the container of one execution joins.

Docker needs about half of a container's start to set up its network namespace. A sandbox has done that in advance.
Its only program is 129 bytes long and calls pause(2), so a sandbox needs 0.1 MB of memory.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import struct
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docker import APIClient
from docker.errors import DockerException, ImageNotFound, NotFound
from docker.types import LogConfig

from core.errors import PushmillError
from runner.containers.devices import known

log = logging.getLogger(__name__)

LABEL = "pushmill.sandbox"  # the id of the runner
IMAGE = "pushmill-sandbox:1"
MEMORY = 32 * 1024 * 1024  # runc, which starts the program, needs a multiple of the program's
PROCESSES = 16  # threads of runc
BASE = 0x400000
MACHINES = {  # Docker's name of the architecture: ELF's number of it, and the code
    # again: mov eax, SYS_pause; syscall; jmp again
    "amd64": (62, bytes.fromhex("b822000000 0f05 ebf7")),
    # again: mov x8, SYS_ppoll; mov x0…x4, 0; svc 0; b again
    "arm64": (183, bytes.fromhex("280980d2 000080d2 010080d2 020080d2 030080d2 040080d2 010000d4 f9ffff17")),
}

SHARED_FILES = ("hosts", "hostname", "resolv.conf")  # in /etc: Docker mounts them in every container that joins
SHARED_SIZE = 64 * 1024  # bytes of each that are compared


@dataclass(frozen=True)
class Sandbox:
    """A running sandbox: the name and addresses of its container, and its process on this machine.

    `traces` is what `traces` returned when it was started.
    """

    name: str
    addresses: list[str]
    pid: int = 0
    traces: str = ""

    def is_unused(self) -> bool:
        """Whether it is known that no container that joined it, and has ended, left anything in it."""
        return bool(self.traces) and traces(self.pid) == self.traces


def traces(pid: int) -> str:
    """Return a digest of everything that a container without CAP_NET_ADMIN can change in a network namespace.

    `pid` is a process in that namespace. The digest covers the number of packets that each interface has sent,
    including the loopback interface, and the files that Docker shares with containers in the namespace. As long as no
    packet is sent, no connection, used port or neighbour entry remains after the processes have ended. Returns "" if
    the process does not exist or this process has no permission to inspect it.
    """
    try:
        found: list[object] = [os.stat(f"/proc/{pid}/ns/net").st_ino]
        for line in Path(f"/proc/{pid}/net/dev").read_text().splitlines()[2:]:
            interface, _, counters = line.partition(":")
            found.append((interface.strip(), counters.split()[8:]))
        for name in SHARED_FILES:
            path = f"/proc/{pid}/root/etc/{name}"
            with open(path, "rb") as file:
                facts = os.fstat(file.fileno())
                content = file.read(SHARED_SIZE)
            found.append((facts.st_size, facts.st_mode, facts.st_uid, facts.st_gid, os.listxattr(path), content))
    except OSError:
        return ""
    return hashlib.sha256(repr(found).encode()).hexdigest()


class Sandboxes:
    """The network sandboxes of one Docker daemon. Methods raise PushmillError if it does not answer."""

    def __init__(self, api: APIClient, architecture: str) -> None:
        self._api = api
        self.available = architecture in MACHINES
        self._architecture = architecture

    def start(self, name: str, runner: str, network: str) -> Sandbox:
        """Start a sandbox called `name` on `network`. Makes its image if that is missing."""
        try:
            try:
                self._create(name, runner, network)
            except ImageNotFound:
                self._make_image()
                self._create(name, runner, network)
            self._api.start(name)
            container = self._api.inspect_container(name)
        except (DockerException, OSError) as error:
            raise PushmillError(f"The network sandbox {name} cannot be started: {error}") from None
        pid = int(container["State"]["Pid"])
        return Sandbox(name, addresses(container), pid, traces(pid))

    def is_running(self, name: str) -> bool:
        """Whether a container may still join the sandbox."""
        with known(f"whether the network sandbox {name} runs"):
            try:
                return bool(self._api.inspect_container(name)["State"]["Running"])
            except NotFound:
                return False

    def names(self, runner: str) -> list[str]:
        """The names of this runner's sandboxes, running or not."""
        with known("which network sandboxes there are"):
            found = self._api.containers(all=True, filters={"label": f"{LABEL}={runner}"})
        return [container["Names"][0].removeprefix("/") for container in found]

    def _create(self, name: str, runner: str, network: str) -> None:
        host_config = self._api.create_host_config(
            network_mode=network,
            log_config=LogConfig(type="none"),
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            read_only=True,
            mem_limit=MEMORY,
            pids_limit=PROCESSES,
        )
        self._api.create_container(
            IMAGE,
            ["/pause"],
            name=name,
            user="65534:65534",
            host_config=host_config,
            labels={"pushmill.managed": "true", LABEL: runner},
            stop_signal="SIGKILL",
        )

    def _make_image(self) -> None:
        answer = json.loads(self._api.import_image_from_data(_archive(self._architecture), repository=IMAGE))
        log.info("made the image %s: %s", IMAGE, answer.get("status"))


def addresses(container: dict[str, Any]) -> list[str]:
    """Return the addresses of an inspected container on its networks; none after it has ended."""
    networks = container["NetworkSettings"]["Networks"].values()
    return [found[key] for found in networks for key in ("IPAddress", "GlobalIPv6Address") if found.get(key)]


def program(architecture: str) -> bytes:
    """Return an executable that waits for ever, as an ELF file of one segment."""
    machine, code = MACHINES[architecture]
    size = 64 + 56 + len(code)
    header = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    header += struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, BASE + 120, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    return header + struct.pack("<IIQQQQQQ", 1, 5, 0, BASE, BASE, size, size, 0x1000) + code


def _archive(architecture: str) -> bytes:
    file, content = io.BytesIO(), program(architecture)
    with tarfile.open(fileobj=file, mode="w") as archive:
        member = tarfile.TarInfo("pause")
        member.mode, member.size = 0o755, len(content)
        archive.addfile(member, io.BytesIO(content))
    return file.getvalue()
