"""Firewall rules that block containers from the runner's machine and from metadata services of clouds.

Each bridge has its own chain in the table `mangle`, called from `PREROUTING`: before address translation, before the
rules of Docker and of host firewalls, and for both forwarded and local packets. Neither of Docker's backends (iptables
and nftables) uses or flushes this table, and no later rule accepts a packet that was dropped here.
The rules need root and `iptables`. Without them containers run, and the runner reports the problem.

Rules in `DOCKER-USER` are missing with Docker's nftables backend and do not see packets for the machine itself. A
chain is replaced in one step by `iptables-restore`; the comment on the rule that calls it contains a hash of its
content. Each execution checks it before its container starts, unless nobody has changed any rule since the last check,
and the cleanup removes it when the bridge is gone.
"""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import logging
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from core.locks import hold
from runner.containers import ruleset
from runner.inputs import address_policy

log = logging.getLogger(__name__)

PROGRAMS = {4: "iptables", 6: "ip6tables"}
CHAIN = "PUSHMILL-"  # followed by the bridge's name, at most 15 characters; iptables allows 28
HOOK = re.compile(r"-A PREROUTING -i (\S+) .*-j PUSHMILL-\1")
INTERFACES = Path("/sys/class/net")
IPV6 = Path("/proc/net/if_inet6")  # absent in kernels without IPv6
RESOLVERS = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))  # the files that Docker reads
LOCK = Path("/run/pushmill/firewall.lock")  # for all runners of the machine: they may share a network
LOCK_S, LOOK_AGAIN_S = 5.0, 0.05
WAIT_S = 5  # for the lock of iptables
TIMEOUT_S = 20.0
NEIGHBOURS = range(133, 137)  # ICMPv6 types that IPv6 cannot work without: RFC 4861
# rules of earlier versions, as `iptables -S` prints them
OLD_CHAIN, OLD_DESTINATION = "DOCKER-USER", "169.254.0.0/16"
OLD = re.compile(rf"-A {OLD_CHAIN} -d {re.escape(OLD_DESTINATION)} -i (br-[0-9a-f]{{12}}) -j DROP")


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What containers on `bridge` may reach on the machine: the relay, DNS at its name servers, and `host_ports`.

    `relay_ports` are the first and the last port, at the address `relay`; `host_ports` are pairs of protocol and port.
    """

    bridge: str
    relay: str
    relay_ports: tuple[int, int]
    host_ports: tuple[tuple[str, int], ...] = ()
    name_servers: tuple[str, ...] = ()


# by bridge, the rules that this process has found, and in which generation of the ruleset
_intact: Final[dict[str, tuple[int, list[tuple[str, list[str]]]]]] = {}


def protect(policy: Policy) -> str:
    """Install the rules for IPv4 and IPv6 if missing. Idempotent. Returns the problem as a sentence, or ""."""
    if not (INTERFACES / policy.bridge).exists():
        return _problem(f"{policy.bridge} is not an interface of this machine; is the network a Docker bridge?")
    try:
        wanted = [(program, build_rules(policy, version)) for version, program in _programs()]
        generation = ruleset.read_generation([program for program, _ in wanted])
        if generation is not None and _intact.get(policy.bridge) == (generation, wanted):
            return ""
        if all(_changes(program, policy.bridge, found) == [] for program, found in wanted):
            if generation is not None:
                _intact[policy.bridge] = generation, wanted
            return ""
        with _locked():
            for program, found in wanted:
                if changes := _changes(program, policy.bridge, found):
                    _restore(program, changes)
    except (OSError, subprocess.SubprocessError) as error:
        return _problem(_text(error))
    return ""


def find_problem(bridge: str) -> str:
    """Return the problem as a sentence if this bridge has no rules, else "". Changes nothing."""
    try:
        for _, program in _programs():
            if not any((found := HOOK.fullmatch(rule)) and found[1] == bridge for rule in _listed(program)):
                return _problem(f"{program} has no rules for {bridge}")
    except (OSError, subprocess.SubprocessError) as error:
        return _problem(_text(error))
    return ""


def remove_unused() -> int:
    """Remove the chains and rules of bridges that no longer exist; returns the number of these bridges."""
    gone: set[str] = set()
    try:
        with _locked():
            for _, program in _programs():
                gone |= _remove_chains(program)
            _remove_old()
    except (OSError, subprocess.SubprocessError) as error:  # `protect` reports the cause
        log.debug("firewall rules of removed networks stay: %s", _text(error))
    return len(gone)


def build_rules(policy: Policy, version: int) -> list[str]:
    """Return the rules of a bridge's chain for IP version 4 or 6; pure.

    Packets that these rules do not drop go on to the other firewall rules.
    """
    drop = [network for network in address_policy.UNREACHABLE if network.version == version]
    found = [
        *(f"-p icmpv6 --icmpv6-type {kind} -j RETURN" for kind in (NEIGHBOURS if version == 6 else ())),
        *(
            f"-d {server} -p {protocol} --dport 53 -j RETURN"
            for server in _of_version(policy.name_servers, version)
            for protocol in ("udp", "tcp")
        ),
        *(f"-d {network} -j DROP" for network in drop),
        "-m conntrack --ctstate RELATED,ESTABLISHED -j RETURN",
        *(
            f"-d {relay} -p tcp --dport {policy.relay_ports[0]}:{policy.relay_ports[1]} -j RETURN"
            for relay in _of_version([policy.relay], version)
        ),
        *(
            f"-p {protocol} --dport {port} -m addrtype --dst-type LOCAL -j RETURN"
            for protocol, port in policy.host_ports
        ),
        "-m addrtype --dst-type LOCAL -j DROP",
        "-m addrtype --dst-type MULTICAST -j DROP",
    ]
    return [*found, "-m addrtype --dst-type BROADCAST -j DROP"] if version == 4 else found


def list_name_servers() -> tuple[str, ...]:
    """The machine's name servers without loopback ones; Docker's resolver queries them from containers' namespaces."""
    found: list[str] = []
    for path in RESOLVERS:
        try:
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue
        found += [words[1] for line in lines if len(words := line.split()) > 1 and words[0] == "nameserver"]
    return tuple(dict.fromkeys(server for server in found if not _is_loopback(server)))


def _programs() -> Iterator[tuple[int, str]]:
    return ((version, program) for version, program in PROGRAMS.items() if version == 4 or IPV6.exists())


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    """Hold the machine's lock, or go on without it after LOCK_S: a process that hangs must not stop other runners.

    Without it two runners may both add a hook for a bridge; the next check replaces them by one.
    """
    deadline = time.monotonic() + LOCK_S
    while True:
        with hold(LOCK, wait=False) as free:
            if not free and time.monotonic() > deadline:
                log.warning("another process has held %s for %g s: changing firewall rules without it", LOCK, LOCK_S)
                free = True
            if free:
                yield
                return
        time.sleep(LOOK_AGAIN_S)


def _changes(program: str, bridge: str, wanted: Sequence[str]) -> list[str]:
    """Return the lines that replace the bridge's chain; [] if it has as many rules and its hook carries their hash."""
    chain, listed = f"{CHAIN}{bridge}", _listed(program)
    mark = "pushmill:" + hashlib.sha256("\n".join(wanted).encode()).hexdigest()[:16]
    hooks = _unhook(listed, bridge)
    present = sum(line.startswith(f"-A {chain} ") for line in listed)
    if len(hooks) == 1 and mark in hooks[0] and present == len(wanted):
        return []
    hook = f"-I PREROUTING -i {bridge} -m comment --comment {mark} -j {chain}"
    return [f":{chain} - [0:0]", *(f"-A {chain} {rule}" for rule in wanted), *hooks, hook]


def _unhook(listed: Iterable[str], bridge: str) -> list[str]:
    """Return the commands that delete the rules which jump to a bridge's chain."""
    found = [line for line in listed if (hook := HOOK.fullmatch(line)) and hook[1] == bridge]
    return [line.replace("-A", "-D", 1) for line in found]


def _listed(program: str) -> list[str]:
    return _run(program, "-w", str(WAIT_S), "-t", "mangle", "-S").splitlines()


def _restore(program: str, lines: Sequence[str]) -> None:
    """Apply all lines or none."""
    _run(f"{program}-restore", f"--wait={WAIT_S}", "--noflush", stdin="\n".join(["*mangle", *lines, "COMMIT", ""]))


def _remove_chains(program: str) -> set[str]:
    listed = _listed(program)
    bridges = [line.removeprefix(f"-N {CHAIN}") for line in listed if line.startswith(f"-N {CHAIN}")]
    gone = {bridge for bridge in bridges if not (INTERFACES / bridge).exists()}
    for bridge in gone:
        _restore(program, [*_unhook(listed, bridge), f"-F {CHAIN}{bridge}", f"-X {CHAIN}{bridge}"])
    return gone


def _remove_old() -> None:
    """Remove the rules of earlier versions from Docker's chain, for bridges that are gone or have our own chain."""
    try:
        listed = _run(PROGRAMS[4], "-w", str(WAIT_S), "-S", OLD_CHAIN).splitlines()
    except subprocess.SubprocessError:  # no such chain
        return
    listed_now = _listed(PROGRAMS[4])
    for bridge in (found[1] for line in listed if (found := OLD.fullmatch(line))):
        if _unhook(listed_now, bridge) or not (INTERFACES / bridge).exists():
            _run(PROGRAMS[4], "-w", str(WAIT_S), "-D", OLD_CHAIN, "-i", bridge, "-d", OLD_DESTINATION, "-j", "DROP")


def _run(program: str, *arguments: str, stdin: str = "") -> str:
    command = [program, *arguments]
    return subprocess.run(
        command, input=stdin, capture_output=True, text=True, errors="replace", check=True, timeout=TIMEOUT_S
    ).stdout


def _of_version(given: Iterable[str], version: int) -> list[str]:
    """Select the addresses of this IP version and strip their zones."""
    found = []
    for text in given:
        try:
            ip = ipaddress.ip_address(text.partition("%")[0])
        except ValueError:
            continue
        found += [str(ip)] if ip.version == version else []
    return found


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return True


def _problem(why: str) -> str:
    return f"Containers can reach this machine and metadata services of clouds: {why}"


def _text(error: Exception) -> str:
    """The cause and what to do about it, in one line."""
    if isinstance(error, FileNotFoundError):
        return f"{error.filename} is missing: install the package iptables, whichever backend Docker uses"
    if isinstance(error, PermissionError):
        return f"{error}: only root can create firewall rules"
    said = " ".join(str(getattr(error, "stderr", "") or error).split())[:300]
    return f"{said} (only root can create firewall rules)" if "root" in said or "denied" in said else said


if __name__ == "__main__":  # for `pushmill doctor`, which does not import the runner
    print(find_problem(sys.argv[1]))
