"""Renews the network namespace of a sandbox, so that the next container that joins it finds an empty one.

Docker takes half of a container's start to set up a namespace; the kernel itself takes a few milliseconds. On SIGUSR1
the sandbox's process moves to a new namespace (unshare(2)), and this module moves the interface that Docker has made
there. Sockets, ports, neighbours and processes of the last container remain in the old namespace, which is connected to
nothing any more. A container that joins a sandbox (`container:NAME`) gets the namespace that its process is in.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from core.errors import PushmillError
from runner.containers import conntrack, firewall
from runner.containers.specs import Network

COMMANDS = ("ip", "nsenter")
DAEMON_CONFIG = Path("/etc/docker/daemon.json")
INTERFACE = "eth0"  # Docker's name of a container's first interface
LEAVE_S = 1.0  # until the process is in another namespace
TIMEOUT_S = 5.0  # of each program
LOOK_AGAIN_S = 0.001
# the settings that Docker gives to each of its namespaces are printed, to be copied to the new one
LEAVE = f"""
set -e
cd /proc/sys/net/ipv4
cat ip_unprivileged_port_start ping_group_range
ip link set {INTERFACE} netns "$1"
[ -z "$2" ] || exec ip link add {INTERFACE} type veth peer name stand-in
"""
# without IPv6, as in every network namespace that Docker makes on a network without it
ENTER = f"""
set -e
cd /proc/sys/net
echo "$1" > ipv4/ip_unprivileged_port_start
echo "$2" > ipv4/ping_group_range
if [ -e ipv6 ]; then for name in all default {INTERFACE}; do echo 1 > "ipv6/conf/$name/disable_ipv6"; done; fi
exec ip -batch -
"""


class NotRenewable(PushmillError):
    """Raised if this machine does not let sandboxes renew their namespaces."""


@dataclass(frozen=True, kw_only=True)
class Namespace:
    """The network namespace of a sandbox's process, identified by its inode number; `address` has a prefix length.

    In the one that Docker has made, the interface is replaced by one that leads nowhere, because Docker reads the
    statistics of an interface of that name whenever it is asked for the memory that a container in the sandbox uses.
    """

    pid: int
    inode: int
    address: str
    gateway: str
    is_dockers: bool = True


def explain_obstacle(network: Network) -> str:
    """Return why sandboxes on this network cannot be renewed, or "".

    Docker's own resolver remains in the old namespace. It knows the names of other containers on the network, and the
    name servers of Docker's configuration, so only networks and machines where neither matters are renewed.
    """
    if os.geteuid() != 0:
        return "this runner does not run as root"
    if missing := [command for command in COMMANDS if shutil.which(command) is None]:
        return f"this machine lacks the command {missing[0]}"
    if not network.isolated:
        return f"containers on the network {network.name} can reach each other"
    if not list_name_servers():
        return "/etc/resolv.conf has no IPv4 name server other than loopback ones"
    with contextlib.suppress(OSError, ValueError):
        if "dns" in json.loads(DAEMON_CONFIG.read_text(encoding="utf-8")):
            return f"{DAEMON_CONFIG} sets name servers"
    return ""


def list_name_servers() -> list[str]:
    """Return the machine's IPv4 name servers without loopback ones."""
    return [server for server in firewall.list_name_servers() if ":" not in server]


def find_namespace(container: dict[str, Any]) -> Namespace | None:
    """Return the namespace of a running container, as inspected by Docker, or None if it cannot be renewed.

    The container must be on one network without IPv6, and its process on this machine.
    """
    pid, networks = int(container["State"]["Pid"]), list(container["NetworkSettings"]["Networks"].values())
    try:
        hostname = Path(f"/proc/{pid}/root/etc/hostname").read_text(encoding="utf-8").strip()
        inode = os.stat(f"/proc/{pid}/ns/net").st_ino
    except OSError:
        return None
    if hostname != container["Config"]["Hostname"] or len(networks) != 1 or networks[0].get("GlobalIPv6Address"):
        return None
    address = f"{networks[0]['IPAddress']}/{networks[0]['IPPrefixLen']}"
    return Namespace(pid=pid, inode=inode, address=address, gateway=networks[0]["Gateway"])


def renew(namespace: Namespace) -> Namespace:
    """Give the sandbox's process a new namespace with the same interface and addresses, and nothing else.

    Raises PushmillError if the sandbox has ended, or NotRenewable. It must then be removed, since its interface may be
    in neither namespace.
    """
    try:
        with _opened(namespace) as (process, old):
            signal.pidfd_send_signal(process, signal.SIGUSR1)
            with _successor(namespace) as new:
                stand_in = "yes" if namespace.is_dockers else ""
                settings = _run(old, LEAVE, f"/proc/self/fd/{new}", stand_in, keep=(new,)).splitlines()
                conntrack.forget(namespace.address.partition("/")[0])
                batch = (
                    "link set lo up",
                    f"address add {namespace.address} broadcast + dev {INTERFACE}",
                    f"link set {INTERFACE} up",
                    f"route add default via {namespace.gateway}",
                )
                _run(new, ENTER, *settings, text="\n".join(batch) + "\n")
                return replace(namespace, inode=os.fstat(new).st_ino, is_dockers=False)
    except (OSError, subprocess.SubprocessError) as error:
        detail = str(getattr(error, "stderr", "") or "").strip()
        raise NotRenewable(f"The network namespace of a sandbox cannot be renewed: {error} {detail}".strip()) from None


@contextlib.contextmanager
def _opened(namespace: Namespace) -> Iterator[tuple[int, int]]:
    """Yield descriptors of the process and of its namespace.

    The number of the process may belong to another one by now, which its namespace tells; the descriptor cannot.
    """
    with contextlib.ExitStack() as stack:
        try:
            process = os.pidfd_open(namespace.pid)
            stack.callback(os.close, process)
            descriptor = os.open(f"/proc/{namespace.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            stack.callback(os.close, descriptor)
        except (ProcessLookupError, FileNotFoundError):
            raise PushmillError("The network sandbox has ended") from None
        if os.fstat(descriptor).st_ino != namespace.inode:
            raise PushmillError("The network sandbox has ended")
        yield process, descriptor


@contextlib.contextmanager
def _successor(namespace: Namespace) -> Iterator[int]:
    """Wait until the process has moved to another namespace, and yield a descriptor of that."""
    path, deadline = f"/proc/{namespace.pid}/ns/net", time.monotonic() + LEAVE_S
    while os.stat(path).st_ino == namespace.inode:
        if time.monotonic() > deadline:
            raise NotRenewable("A network sandbox does not leave its namespace; is unshare(2) forbidden?")
        time.sleep(LOOK_AGAIN_S)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _run(namespace: int, script: str, *arguments: str, text: str = "", keep: tuple[int, ...] = ()) -> str:
    """Run a shell script in a network namespace, given as a descriptor; returns its output."""
    command = ["nsenter", f"--net=/proc/self/fd/{namespace}", "sh", "-c", script, "sh", *arguments]
    done = subprocess.run(
        command,
        input=text,
        capture_output=True,
        text=True,
        check=True,
        timeout=TIMEOUT_S,
        pass_fds=(namespace, *keep),
    )
    return done.stdout
