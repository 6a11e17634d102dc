"""Network sandboxes: containers that only wait, and whose network namespace the container of an execution joins.

Docker needs about half of a container's start to set up its network namespace. A sandbox has done that in advance. Its
only program has some 200 bytes, so a sandbox needs 0.1 MB of memory. It waits, and moves to a new network namespace
each time it gets SIGUSR1: see `namespaces`.
"""

from __future__ import annotations

import io
import json
import logging
import struct
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from docker import APIClient
from docker.errors import DockerException, ImageNotFound, NotFound
from docker.types import LogConfig

from core.errors import PushmillError
from runner.containers import namespaces
from runner.containers.devices import translate_errors
from runner.containers.namespaces import Namespace

log = logging.getLogger(__name__)

LABEL = "pushmill.sandbox"  # the id of the runner
IMAGE = "pushmill-sandbox:2"
MEMORY = 32 * 1024 * 1024  # runc, which starts the program, needs a multiple of the program's
PROCESSES = 16  # threads of runc
BASE = 0x400000
# The program blocks SIGUSR1 with rt_sigprocmask(2). Then it calls rt_sigtimedwait(2) again and again, and each time it
# has got the signal, unshare(CLONE_NEWNET).
SIGNALS = bytes.fromhex("0002000000000000")  # the set of SIGUSR1 alone, which follows the code
MACHINES = {  # Docker's name of the architecture: ELF's number of it, and the code
    "amd64": (
        62,
        bytes.fromhex(
            "488d353c000000 31ff 31d2 41ba08000000 b80e000000 0f05"  # lea rsi; xor edi; xor edx; mov r10d, eax; syscall
            "488d3d24000000 31f6 31d2 41ba08000000 b880000000 0f05"  # lea rdi; xor esi; xor edx; mov r10d, eax; syscall
            "83f80a 75e3"  # cmp eax; jne again
            "bf00000040 b810010000 0f05 ebd5"  # mov edi, eax; syscall; jmp again
        ),
    ),
    "arm64": (
        183,
        bytes.fromhex(
            "000080d2 21020010 020080d2 030180d2 e81080d2 010000d4"  # mov x0; adr x1; mov x2, x3, x8; svc
            "80010010 010080d2 020080d2 030180d2 281180d2 010000d4"  # adr x0; mov x1, x2, x3, x8; svc
            "1f2800f1 21ffff54"  # cmp x0; b.ne again
            "0000a8d2 280c80d2 010000d4 f5ffff17"  # mov x0, x8; svc; b again
        ),
    ),
}

SHARED_FILES = ("hosts", "hostname", "resolv.conf")  # in /etc: Docker mounts them in every container that joins
SHARED_SIZE = 64 * 1024  # bytes of each


@dataclass(frozen=True, kw_only=True)
class Sandbox:
    """A running sandbox: the name and addresses of its container.

    `namespace` is None if it can only serve one execution. Otherwise each container that joins gets `files` of its own
    in /etc, by their names, instead of those that Docker shares between all.
    """

    name: str
    addresses: list[str]
    namespace: Namespace | None = None
    files: Mapping[str, str] = field(default_factory=dict)

    def renewed(self) -> Sandbox:
        """Renew its network namespace for another execution. Raises PushmillError; it must then be removed."""
        servers = namespaces.list_name_servers()
        if self.namespace is None or not servers:
            raise PushmillError(f"The network sandbox {self.name} serves one execution only")
        kept = [line for line in self.files["resolv.conf"].splitlines() if not line.startswith(("nameserver", "#"))]
        lines = [*(f"nameserver {server}" for server in servers), *kept]
        files = {**self.files, "resolv.conf": "".join(f"{line}\n" for line in lines)}
        return replace(self, namespace=namespaces.renew(self.namespace), files=files)


class Sandboxes:
    """The network sandboxes of one Docker daemon. Methods raise PushmillError if it does not answer."""

    def __init__(self, api: APIClient, architecture: str) -> None:
        self._api = api
        self.available = architecture in MACHINES
        self._architecture = architecture

    def start(self, name: str, runner: str, network: str, *, renewable: bool) -> Sandbox:
        """Start a sandbox called `name` on `network`. Makes its image if that is missing."""
        try:
            try:
                self._create(name, runner, network, renewable)
            except ImageNotFound:
                self._make_image()
                self._create(name, runner, network, renewable)
            self._api.start(name)
            container = self._api.inspect_container(name)
            namespace = namespaces.find_namespace(container) if renewable else None
            files = _shared_files(namespace.pid) if namespace else {}
        except (DockerException, OSError) as error:
            raise PushmillError(f"The network sandbox {name} cannot be started: {error}") from None
        return Sandbox(name=name, addresses=list_addresses(container), namespace=namespace, files=files)

    def is_running(self, name: str) -> bool:
        """Whether a container may still join the sandbox."""
        with translate_errors(f"whether the network sandbox {name} runs"):
            try:
                return bool(self._api.inspect_container(name)["State"]["Running"])
            except NotFound:
                return False

    def names(self, runner: str) -> list[str]:
        """The names of this runner's sandboxes, running or not."""
        with translate_errors("which network sandboxes there are"):
            found = self._api.containers(all=True, filters={"label": f"{LABEL}={runner}"})
        return [container["Names"][0].removeprefix("/") for container in found]

    def _create(self, name: str, runner: str, network: str, renewable: bool) -> None:
        """Create the container. A renewable one may only call unshare(2) in addition, which root alone can do."""
        host_config = self._api.create_host_config(
            network_mode=network,
            log_config=LogConfig(type="none"),
            cap_drop=["ALL"],
            cap_add=["SYS_ADMIN"] if renewable else [],
            security_opt=["no-new-privileges"],
            read_only=True,
            mem_limit=MEMORY,
            pids_limit=PROCESSES,
        )
        self._api.create_container(
            IMAGE,
            ["/sandbox"],
            name=name,
            user="0:0" if renewable else "65534:65534",
            host_config=host_config,
            labels={"pushmill.managed": "true", LABEL: runner},
            stop_signal="SIGKILL",
        )

    def _make_image(self) -> None:
        answer = json.loads(self._api.import_image_from_data(_archive(self._architecture), repository=IMAGE))
        log.info("made the image %s: %s", IMAGE, answer.get("status"))


def list_addresses(container: dict[str, Any]) -> list[str]:
    """Return the addresses of an inspected container on its networks; none after it has ended."""
    networks = container["NetworkSettings"]["Networks"].values()
    return [found[key] for found in networks for key in ("IPAddress", "GlobalIPv6Address") if found.get(key)]


def _shared_files(pid: int) -> dict[str, str]:
    """Return the texts of the files that Docker would share, by name, from the root directory of a process."""
    found = {}
    for name in SHARED_FILES:
        with open(f"/proc/{pid}/root/etc/{name}", encoding="utf-8") as file:
            found[name] = file.read(SHARED_SIZE)
    return found


def build_program(architecture: str) -> bytes:
    """Return the program as an executable for this architecture, an ELF file of one segment."""
    machine, code = MACHINES[architecture]
    code += SIGNALS
    size = 64 + 56 + len(code)
    header = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    header += struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, BASE + 120, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    return header + struct.pack("<IIQQQQQQ", 1, 5, 0, BASE, BASE, size, size, 0x1000) + code


def _archive(architecture: str) -> bytes:
    file, content = io.BytesIO(), build_program(architecture)
    with tarfile.open(fileobj=file, mode="w") as archive:
        member = tarfile.TarInfo("sandbox")
        member.mode, member.size = 0o755, len(content)
        archive.addfile(member, io.BytesIO(content))
    return file.getvalue()
