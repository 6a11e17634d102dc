"""The firewall rules for containers, in namespaces of the test's own: a machine, a container on its bridge, and a cloud.

No Docker is there, so none of its chains is: the rules stand by themselves, as with Docker's nftables backend.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import docker
import leftovers
import pytest
from instance import wait_for
from namespaces import Namespace, namespace

from runner.containers import firewall
from runner.containers.engine import Engine
from runner.containers.firewall import Policy
from runner.inputs.address_policy import METADATA

pytestmark = pytest.mark.root

BRIDGE = "br-0a0a0a0a0a0a"
GATEWAY, GATEWAY6 = "10.50.0.1", "fd50::1"
CLOUD = ["169.254.169.254", "169.254.170.2", *map(str, METADATA)]
OUTSIDE = ["10.60.0.2", "fd60::2"]
RELAY, OTHER = 28200, 8080
PORTS = {"relay_ports": (28200, 28209)}

SERVE = """
import selectors, socket, sys
found = selectors.DefaultSelector()
for port in map(int, sys.argv[1:]):
    server = socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    found.register(server, selectors.EVENT_READ)
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("", port))
    found.register(udp, selectors.EVENT_READ)
print("ready", flush=True)
while True:
    for key, _ in found.select():
        if key.fileobj.type == socket.SOCK_STREAM:
            key.fileobj.accept()[0].close()
        else:
            key.fileobj.sendto(*key.fileobj.recvfrom(100))
"""
ASK = """
import json, socket, sys
from concurrent.futures import ThreadPoolExecutor

def reaches(target):
    address, port, kind = target
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, getattr(socket, kind)) as client:
        client.settimeout(2)
        try:
            client.connect((address, port))
            if kind == "SOCK_DGRAM":
                client.send(b"x")
                client.recv(100)
            return True
        except OSError:
            return False

targets = json.loads(sys.argv[1])
with ThreadPoolExecutor(32) as pool:
    print(json.dumps(list(pool.map(reaches, targets))))
"""
FIREWALL = """
import json, sys
from runner.containers import firewall
name, given = sys.argv[1], json.loads(sys.argv[2])
print(getattr(firewall, name)(firewall.Policy(**given)) if name == "protect" else getattr(firewall, name)(*given))
"""


@dataclass(frozen=True)
class Site:
    machine: Namespace
    container: Namespace

    def reached(self, *targets: tuple[str, int] | tuple[str, int, str]) -> list[bool]:
        """Return which of these addresses the container reaches."""
        full = [(*target, "SOCK_STREAM")[:3] for target in targets]
        return list(json.loads(self.container.run(sys.executable, "-c", ASK, json.dumps(full)).stdout))

    def protect(self, **given: object) -> str:
        policy = {"bridge": BRIDGE, "relay": GATEWAY, **PORTS, **given}
        return self.firewall("protect", policy)

    def firewall(self, name: str, given: object) -> str:
        return self.machine.run(sys.executable, "-c", FIREWALL, name, json.dumps(given)).stdout.strip()

    def rules(self) -> str:
        return "".join(self.machine.run(name, "-w", "-t", "mangle", "-S").stdout for name in ("iptables", "ip6tables"))


@pytest.fixture
def site() -> Iterator[Site]:
    with contextlib.ExitStack() as stack:
        machine, container, cloud = (stack.enter_context(namespace()) for _ in range(3))
        machine.ip("link", "add", BRIDGE, "type", "bridge")
        machine.join("port", container, "eth0")
        machine.ip("link", "set", "port", "master", BRIDGE)
        machine.ip("link", "set", BRIDGE, "up")
        machine.join("uplink", cloud, "eth0")
        for device, *addresses in (
            (BRIDGE, f"{GATEWAY}/24", f"{GATEWAY6}/64"),
            ("uplink", "10.60.0.1/24", "fd60::1/64"),
        ):
            _address(machine, device, *addresses)
        _address(container, "eth0", "10.50.0.2/24", "fd50::2/64")
        _address(cloud, "eth0", *(f"{address}/{_bits(address)}" for address in OUTSIDE))
        _address(cloud, "lo", *CLOUD)
        for address in CLOUD:
            machine.ip("route", "add", address, "via", OUTSIDE[":" in address])
        for inside, gateway, gateway6 in ((container, GATEWAY, GATEWAY6), (cloud, "10.60.0.1", "fd60::1")):
            inside.ip("route", "add", "default", "via", gateway)
            inside.ip("-6", "route", "add", "default", "via", gateway6)
        machine.run("sysctl", "-q", "-w", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        for inside, ports in ((machine, (RELAY, OTHER, 53)), (cloud, (80, 53))):
            stack.enter_context(_serving(inside, *ports))
        yield Site(machine, container)


@contextlib.contextmanager
def _serving(inside: Namespace, *ports: int) -> Iterator[None]:
    command = [*inside.prefix, sys.executable, "-c", SERVE, *map(str, ports)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield
        process.kill()


def _address(inside: Namespace, device: str, *addresses: str) -> None:
    for address in addresses:
        inside.ip("address", "add", address, "dev", device, *(["nodad"] if ":" in address else []))


def _bits(address: str) -> int:
    return 64 if ":" in address else 24


METADATA_SERVICES = [(address, 80) for address in CLOUD]
MACHINE = [
    *((address, OTHER) for address in (GATEWAY, GATEWAY6, "10.60.0.1", "fd60::1")),
    *((address, RELAY) for address in ("10.60.0.1", GATEWAY6)),
    (GATEWAY, OTHER, "SOCK_DGRAM"),
]
OPEN = [*((address, 80) for address in OUTSIDE), (GATEWAY, RELAY)]


def test_containers_reach_the_relay_and_the_network_alone(site: Site) -> None:
    closed = [*METADATA_SERVICES, *MACHINE]
    wait_for(lambda: all(site.reached(*closed, *OPEN)))
    assert site.protect() == ""
    assert site.reached(*closed) == [False] * len(closed)
    assert site.reached(*OPEN) == [True] * len(OPEN)


def test_dns_at_the_machines_name_servers_and_allowed_ports_stay_open(site: Site) -> None:
    assert site.protect(name_servers=["169.254.169.254", GATEWAY], host_ports=[("tcp", OTHER)]) == ""
    open_ones = [
        ("169.254.169.254", 53),
        (GATEWAY, 53),
        (GATEWAY, 53, "SOCK_DGRAM"),
        (GATEWAY, OTHER),
        ("10.60.0.1", OTHER),
    ]
    closed = [("169.254.169.254", 80), ("100.100.100.200", 53), (GATEWAY, OTHER, "SOCK_DGRAM"), ("10.60.0.1", 53)]
    assert site.reached(*open_ones) == [True] * len(open_ones)
    assert site.reached(*closed) == [False] * len(closed)


def test_an_accepting_firewall_of_others_does_not_open_it(site: Site) -> None:
    """Docker accepts what leaves a bridge, in whatever chain and at whatever time."""
    assert site.protect() == ""
    for chain in ("FORWARD", "INPUT"):
        site.machine.run("iptables", "-I", chain, "-i", BRIDGE, "-j", "ACCEPT")
    assert site.reached(("169.254.169.254", 80), (GATEWAY, OTHER)) == [False, False]
    site.machine.run("iptables", "-F")  # as a firewall that is loaded again does
    assert site.reached(("169.254.169.254", 80), (GATEWAY, OTHER)) == [False, False]


def test_the_rules_are_made_once_changed_and_repaired(site: Site) -> None:
    site.protect()
    once = site.rules()
    site.protect()
    assert site.rules() == once
    site.protect(host_ports=[("tcp", OTHER)])
    assert site.rules().count("-A PREROUTING") == 2
    assert site.reached((GATEWAY, OTHER)) == [True]
    site.protect()
    assert site.rules() == once
    site.machine.run("iptables", "-t", "mangle", "-D", f"PUSHMILL-{BRIDGE}", "1")
    site.machine.run("ip6tables", "-t", "mangle", "-F", "PREROUTING")
    site.protect()
    assert site.rules() == once


REPEATED = """
import json, os, subprocess, sys
from runner.containers import firewall
policy, path = firewall.Policy(**json.loads(sys.argv[1])), os.environ["PATH"]
def flush(program):
    subprocess.run([program, "-t", "mangle", "-F"], check=True, env={"PATH": path})
def protect(programs=path):
    os.environ["PATH"] = programs
    return firewall.protect(policy)
print(json.dumps([protect(), protect(), protect("/nowhere")]))  # the second finds them
for program in ("iptables", "ip6tables"):
    flush(program)
    print(json.dumps([protect("/nowhere"), protect(), protect(), protect("/nowhere")]))
"""


def test_a_process_looks_at_its_rules_again_once_anybody_has_changed_a_rule(site: Site) -> None:
    policy = json.dumps({"bridge": BRIDGE, "relay": GATEWAY, **PORTS})
    said = site.machine.run(sys.executable, "-c", REPEATED, policy).stdout.splitlines()
    assert json.loads(said[0]) == ["", "", ""]
    for line in said[1:]:
        without, *later = json.loads(line)
        assert "iptables is missing" in without or "ip6tables is missing" in without
        assert later == ["", "", ""]
    assert site.rules().count("-A PREROUTING") == 2


def test_rules_go_with_their_bridge_and_no_others(site: Site) -> None:
    site.machine.ip("link", "add", "br-1b1b1b1b1b1b", "type", "bridge")
    for bridge in (BRIDGE, "br-1b1b1b1b1b1b"):
        site.protect(bridge=bridge)
    own = ["-t", "mangle", "-A", "PREROUTING", "-i", "br-1b1b1b1b1b1b", "-d", "10.9.9.9", "-j", "DROP"]
    site.machine.run("iptables", *own)
    site.machine.run("iptables", "-N", "DOCKER-USER")
    site.machine.ip("link", "add", "br-2c2c2c2c2c2c", "type", "bridge")
    for bridge in (BRIDGE, "br-1b1b1b1b1b1b", "br-2c2c2c2c2c2c"):
        for rule in ("169.254.0.0/16", "10.0.0.0/8"):
            site.machine.run("iptables", "-A", "DOCKER-USER", "-i", bridge, "-d", rule, "-j", "DROP")
    assert site.firewall("remove_unused", []) == "0"
    site.machine.ip("link", "delete", "br-1b1b1b1b1b1b")
    assert site.firewall("remove_unused", []) == "1"
    left = site.rules()
    assert [line for line in left.splitlines() if "br-1b1b1b1b1b1b" in line] == [
        "-A PREROUTING -d 10.9.9.9/32 -i br-1b1b1b1b1b1b -j DROP"
    ]
    assert left.count(f"-N PUSHMILL-{BRIDGE}") == 2
    old = site.machine.run("iptables", "-S", "DOCKER-USER").stdout  # of earlier versions
    assert [line for line in old.splitlines() if "169.254.0.0/16" in line] == [
        "-A DOCKER-USER -d 169.254.0.0/16 -i br-2c2c2c2c2c2c -j DROP"
    ]
    assert old.count("10.0.0.0/8") == 3


def test_what_is_missing_is_a_sentence(site: Site) -> None:
    assert f"iptables has no rules for {BRIDGE}" in site.firewall("find_problem", [BRIDGE])
    assert site.protect() == ""
    assert site.firewall("find_problem", [BRIDGE]) == ""
    site.machine.run("ip6tables", "-t", "mangle", "-F", "PREROUTING")
    assert f"ip6tables has no rules for {BRIDGE}" in site.firewall("find_problem", [BRIDGE])
    assert "br-none is not an interface of this machine" in site.protect(bridge="br-none")


def test_without_root_and_without_iptables_it_is_a_sentence() -> None:
    given = json.dumps({"bridge": "lo", "relay": "", **PORTS})
    command = [sys.executable, "-c", FIREWALL, "protect", given]
    said = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | {"PATH": "/nowhere"})
    assert "iptables is missing: install the package iptables" in said.stdout
    command[2] = FIREWALL.replace("\nname", "\nimport os; os.setgroups([]); os.setgid(65534); os.setuid(65534)\nname")
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "only root can create firewall rules" in said.stdout


@pytest.mark.docker
def test_the_rules_of_a_network_that_was_made_twice_go_with_it() -> None:
    """Two slots that start together may each make one; the younger is removed, and its bridge with it."""
    name, api = f"{leftovers.NETWORK}-twice", docker.APIClient()
    try:
        kept, gone = (str(api.create_network(name, driver="bridge", check_duplicate=None)["Id"]) for _ in range(2))
    except docker.errors.APIError as error:
        api.close()
        pytest.skip(f"this Docker makes no network twice: {error}")
    engine = Engine()
    try:
        for network in (kept, gone):
            assert firewall.protect(Policy(bridge=f"br-{network[:12]}", relay="127.0.0.1", relay_ports=(1, 2))) == ""
        assert engine.network(name).bridge == f"br-{kept[:12]}"
        listed = subprocess.run(["iptables-save"], capture_output=True, text=True, check=True).stdout
        assert f"br-{kept[:12]}" in listed
        assert f"br-{gone[:12]}" not in listed
    finally:
        for network in (kept, gone):
            with contextlib.suppress(docker.errors.NotFound):
                api.remove_network(network)
        api.close()
        engine.close()
        firewall.remove_unused()
