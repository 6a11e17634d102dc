"""Network sandboxes: which execution joins which, what it shares with others, and that none is left behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from runner_host import (
    BUSYBOX,
    IMAGE,
    NETWORK,
    docker,
    execute,
    executing,
    execution,
    keeper_process,
    take_up,
    until,
    with_sandbox,
)
from runner_server import RunnerServer

from core.errors import PushmillError
from runner import sandbox
from runner.containers import conntrack, firewall, namespaces, sandboxes
from runner.containers.namespaces import Namespace
from runner.containers.specs import Network
from runner.execution.claim import start_attempt
from runner.host import Host
from runner.sandbox import ReadySandbox

pytestmark = pytest.mark.docker

NAMESPACE = "readlink /proc/self/ns/net"
INTERFACES = "ls /sys/class/net"


@pytest.fixture
def ready(host: Host) -> Host:
    return with_sandbox(host)


@pytest.fixture
def reusing(host: Host) -> Host:
    return with_sandbox(host, reuse=True)


def ready_name(host: Host) -> str:
    assert host.ready_sandbox is not None
    return host.ready_sandbox.name


def names(host: Host) -> list[str]:
    return host.engine.sandboxes.names(host.runner_id)


def namespace_of(name: str) -> str:
    pid = docker("inspect", "--format", "{{.State.Pid}}", name)
    return str(Path(f"/proc/{pid}/ns/net").readlink())


def run(server: RunnerServer, host: Host, *commands: str, image: str = IMAGE) -> list[str]:
    """Run an execution, and return what it printed."""
    recorded = server.add(execution(*commands, image=image))
    execute(host, recorded.spec.uuid, 1)
    assert recorded.final["state"] == "complete"
    return list(recorded.lines("stdout"))


def test_each_execution_finds_a_network_namespace_that_no_other_one_has_had(server: RunnerServer, ready: Host) -> None:
    name, namespaces_seen = ready_name(ready), set()
    for _ in range(3):
        namespace = namespace_of(name)
        assert run(server, ready, NAMESPACE, INTERFACES) == [namespace, "eth0", "lo"]
        namespaces_seen.add(namespace)
        assert ready_name(ready) == name
    assert len(namespaces_seen) == 3
    assert names(ready) == [name]


USES = {
    "a connection": "import socket; s = socket.create_server(('127.0.0.1', 0)); socket.create_connection(s.getsockname())",
    "a neighbour asked for": "import socket; s = socket.socket(type=socket.SOCK_DGRAM);"
    " s.sendto(b'x', (socket.gethostbyname(socket.gethostname()).rpartition('.')[0] + '.9', 9))",
    "a host name added": "open('/etc/hosts', 'a').write('192.0.2.1 example.org')",
    "another name server": "open('/etc/resolv.conf', 'w').write('nameserver 192.0.2.1')",
    "a file that nobody may read": "import os; os.chmod('/etc/resolv.conf', 0)",
    "a file of somebody else": "import os; os.chown('/etc/hostname', 1000, 1000)",
}
STATE = """
import os
for name in ("tcp", "udp", "tcp6", "udp6", "arp"):
    print(name, open(f"/proc/net/{name}").read())
print(open("/proc/net/sockstat").readline())
print([line for line in open("/proc/net/dev") if "eth0" not in line])  # whose counters go with the interface
"""
SETTINGS = """
import os
for name in ("hosts", "hostname", "resolv.conf"):
    facts = os.stat(f"/etc/{name}")
    print(name, facts.st_mode, facts.st_uid, facts.st_gid)
    print(open(f"/etc/{name}").read())
for name in ("ipv4/ip_unprivileged_port_start", "ipv4/ping_group_range", "ipv6/conf/eth0/disable_ipv6"):
    print(name, open(f"/proc/sys/net/{name}").read())
"""


def python(program: str) -> str:
    return f"python3 - <<'E'\n{program}\nE"


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_what_an_execution_leaves_in_its_sandbox_is_gone_for_the_next_one(
    server: RunnerServer, ready: Host, use: str
) -> None:
    name = ready_name(ready)
    run(server, ready, "true")  # Docker's resolver has sockets in the first namespace only
    before = run(server, ready, python(f"{STATE}{SETTINGS}{use}"))
    assert run(server, ready, python(STATE + SETTINGS)) == before
    assert ready_name(ready) == name


def test_a_renewed_namespace_is_set_up_as_docker_does(server: RunnerServer, ready: Host) -> None:
    first = run(server, ready, python(SETTINGS))
    resolver = first.index("nameserver 127.0.0.11")
    first[resolver : resolver + 1] = [f"nameserver {server}" for server in namespaces.list_name_servers()]
    assert run(server, ready, python(SETTINGS)) == first


def test_docker_says_what_a_container_in_a_renewed_namespace_uses(server: RunnerServer, ready: Host) -> None:
    for number in range(3):
        recorded = server.add(execution("echo up; while [ ! -e /valohai/outputs/go ]; do sleep 0.1; done"))
        with executing(ready, recorded.spec):
            until(recorded.lines)
            usage = ready.engine.stats(recorded.container["container_id"])
            (ready.executions / recorded.spec.uuid / "outputs" / "go").touch()
        assert usage["memory_stats"]["usage"] > 0, number
    assert len(names(ready)) == 1


def test_connections_of_an_execution_are_forgotten(server: RunnerServer, ready: Host) -> None:
    address = docker(
        "inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", ready_name(ready)
    )
    before = []

    def note(path: str) -> None:
        if path.endswith("/final"):
            before.append(len(conntrack.list_tracked(address)))

    server.before = note
    assert run(server, ready, RELAYED) == ["200"]
    assert before[0] > 0
    assert conntrack.list_tracked(address) == []


def test_a_process_that_outlives_its_execution_loses_the_network(server: RunnerServer, ready: Host) -> None:
    name, left = ready_name(ready), f"left-{ready.runner_id}"
    network = f"--network=container:{name}"
    docker("run", "--detach", "--rm", "--name", left, network, BUSYBOX, "/bin/sh", "-c", "sleep 1000")
    try:
        assert "default via" in docker("exec", left, "/bin/busybox", "ip", "route")
        for _ in range(2):
            run(server, ready, "true")
            assert docker("exec", left, "/bin/busybox", "ip", "route") == ""
            assert "inet" not in docker("exec", left, "/bin/busybox", "ip", "address", "show", "eth0")
        assert run(server, ready, INTERFACES) == ["eth0", "lo"]
    finally:
        docker("kill", left)


def test_a_sandbox_that_cannot_be_renewed_is_removed_after_its_execution(server: RunnerServer, host: Host) -> None:
    ready = with_sandbox(replace(host, network=replace(host.network, isolated=False)))
    taken = ready_name(ready)
    run(server, ready, "echo done")
    until(lambda: taken not in names(ready))
    until(lambda: ready_name(ready))


def replacement_rights(server: RunnerServer, ready: Host, command: str) -> str:
    """Run a docker command on the sandbox of an execution that ends; return the rights of the next sandbox."""
    taken = ready_name(ready)

    def at_the_end(path: str) -> None:
        if path.endswith("/final"):
            docker(command, taken)

    server.before = at_the_end
    run(server, ready, "echo done")
    until(lambda: taken not in names(ready))
    until(lambda: ready_name(ready))
    return docker("inspect", "--format", "{{.HostConfig.CapAdd}}", ready_name(ready))


def test_a_sandbox_whose_renewal_fails_is_removed_and_replaced(
    server: RunnerServer, ready: Host, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(namespaces, "LEAVE_S", 0.05)
    assert replacement_rights(server, ready, "pause") == "[]"  # it is not tried again
    assert "does not leave its namespace" in caplog.text


def test_a_sandbox_that_has_ended_is_replaced_by_one_that_can_be_renewed(
    server: RunnerServer, ready: Host, caplog: pytest.LogCaptureFixture
) -> None:
    assert replacement_rights(server, ready, "kill") == "[SYS_ADMIN]"
    assert "The network sandbox has ended" in caplog.text


def test_a_process_that_has_the_number_of_an_ended_sandbox_gets_no_signal() -> None:
    with subprocess.Popen(["sleep", "1000"]) as other:
        ended = Namespace(pid=other.pid, inode=1, address="192.0.2.2/24", gateway="192.0.2.1")
        with pytest.raises(PushmillError, match="has ended"):
            namespaces.renew(ended)
        assert other.poll() is None
        other.kill()


def test_a_container_on_another_machine_is_not_mistaken_for_a_local_process() -> None:
    network = {"IPAddress": "192.0.2.2", "IPPrefixLen": 24, "Gateway": "192.0.2.1"}
    container = {
        "State": {"Pid": os.getpid()},
        "Config": {"Hostname": "elsewhere"},
        "NetworkSettings": {"Networks": {"pushmill": network}},
    }
    assert namespaces.find_namespace(container) is None
    here = {**container, "Config": {"Hostname": Path("/etc/hostname").read_text().strip()}}
    found = namespaces.find_namespace(here)
    assert found is not None
    assert found.address == "192.0.2.2/24"


@pytest.mark.parametrize(
    ("resolv_conf", "daemon", "isolated", "why"),
    [
        ("nameserver 192.0.2.53\n", "{}", True, ""),
        ("nameserver 192.0.2.53\n", "", True, ""),
        ("nameserver 127.0.0.53\nnameserver 2001:db8::1\n", "{}", True, "no IPv4 name server"),
        ("nameserver 192.0.2.53\n", '{"dns": ["192.0.2.1"]}', True, "sets name servers"),
        ("nameserver 192.0.2.53\n", "{}", False, "can reach each other"),
    ],
)
def test_sandboxes_are_renewed_only_where_docker_need_not_resolve_names(
    resolv_conf: str, daemon: str, isolated: bool, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "resolv.conf").write_text(resolv_conf)
    (tmp_path / "daemon.json").write_text(daemon)
    monkeypatch.setattr(firewall, "RESOLVERS", (tmp_path / "resolv.conf",))
    monkeypatch.setattr(namespaces, "DAEMON_CONFIG", tmp_path / "daemon.json")
    found = namespaces.explain_obstacle(Network(name="n", bridge="br-n", gateway="192.0.2.1", isolated=isolated))
    assert why in found
    assert bool(found) == bool(why)


def test_an_execution_that_finds_no_sandbox_has_a_network_of_its_own(server: RunnerServer, ready: Host) -> None:
    assert ready.ready_sandbox is not None
    ready.ready_sandbox.take(ready.directory)
    recorded = server.add(execution(INTERFACES))
    execute(ready, recorded.spec.uuid, 1)
    assert recorded.lines("stdout") == ["eth0", "lo"]
    assert recorded.final["state"] == "complete"


def test_a_sandbox_that_was_killed_costs_one_ordinary_start(server: RunnerServer, ready: Host) -> None:
    dead = ready_name(ready)
    docker("kill", dead)
    recorded = server.add(execution(INTERFACES))
    execute(ready, recorded.spec.uuid, 1)
    assert recorded.final["state"] == "complete"
    assert recorded.lines("stdout") == ["eth0", "lo"]
    until(lambda: dead not in names(ready))


def test_a_container_that_was_created_before_its_sandbox_was_killed_is_created_again(
    server: RunnerServer, ready: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = server.add(execution(INTERFACES))
    monkeypatch.setenv("PUSHMILL_TEST_SANDBOX", "on")
    held, released = threading.Event(), threading.Event()

    def before(path: str) -> None:
        if path.endswith("/container") and not released.is_set():
            held.set()
            released.wait(60)

    server.before = before
    with keeper_process(ready, recorded.spec.uuid):
        until(held.is_set)
    released.set()
    found = sandbox.load_sandbox(ready.executions / recorded.spec.uuid)
    assert found is not None
    docker("kill", found.name)
    take_up(ready)
    assert recorded.final["state"] == "complete"
    assert recorded.lines("stdout") == ["eth0", "lo"]


def test_an_execution_that_took_its_sandbox_before_an_upgrade_joins_it(server: RunnerServer, ready: Host) -> None:
    recorded = server.add(execution(INTERFACES))
    directory = ready.executions / recorded.spec.uuid
    directory.mkdir(parents=True)
    start_attempt(ready, directory, 1)
    assert ready.ready_sandbox is not None
    taken = ready.ready_sandbox.take(directory)
    assert taken is not None
    shutil.rmtree(directory / "etc")
    execute(ready, recorded.spec.uuid, 1)
    assert recorded.final["state"] == "complete", recorded.final
    assert recorded.lines("stdout") == ["eth0", "lo"]


def test_an_execution_without_network_joins_no_sandbox(server: RunnerServer, ready: Host) -> None:
    before = ready_name(ready)
    recorded = server.add(execution(INTERFACES, network="none"))
    execute(ready, recorded.spec.uuid, 1)
    assert recorded.lines("stdout") == ["lo"]
    assert ready_name(ready) == before


RELAYED = """python3 - <<'E'
import json, urllib.request
api = json.load(open("/valohai/config/api.json"))["set_status_detail"]
body = json.dumps({"status_detail": "half"}).encode()
print(urllib.request.urlopen(urllib.request.Request(api["url"], body, api["headers"], method="POST"), timeout=10).status)
E"""


def test_executions_reach_their_relays_from_a_sandbox(server: RunnerServer, ready: Host) -> None:
    for _ in range(2):
        recorded = server.add(execution(RELAYED))
        execute(ready, recorded.spec.uuid, 1)
        assert recorded.lines("stdout") == ["200"]
        assert recorded.details == ["half"]


def test_the_container_of_a_killed_slot_keeps_its_sandbox_until_its_end(
    server: RunnerServer, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PUSHMILL_TEST_SANDBOX", "on")
    recorded = server.add(
        execution(f"{NAMESPACE}; while [ ! -e /valohai/outputs/go ]; do sleep 0.1; done; {NAMESPACE}")
    )
    with keeper_process(host, recorded.spec.uuid):
        until(lambda: recorded.lines("stdout"))
    found = sandbox.load_sandbox(host.executions / recorded.spec.uuid)
    assert found is not None
    sandbox.remove_strays(host.engine, host.runner_id, host.directory)
    assert found.name in names(host)
    (host.executions / recorded.spec.uuid / "outputs" / "go").touch()
    take_up(host)
    before, after = recorded.lines("stdout")
    assert before == after == recorded.lines("stdout")[0]
    assert recorded.final["state"] == "complete"
    until(lambda: found.name not in names(host))


def test_only_sandboxes_that_belong_to_nobody_are_strays(host: Host) -> None:
    ready = with_sandbox(host)
    host.engine.sandboxes.start(f"stray-{host.runner_id}", host.runner_id, NETWORK, renewable=False)
    directory = host.executions / "taken"
    directory.mkdir(parents=True)
    other = with_sandbox(host).ready_sandbox
    assert other is not None
    taken = other.take(directory)
    assert taken is not None
    assert sandbox.remove_strays(host.engine, host.runner_id, host.directory) == 1
    assert sorted(names(host)) == sorted([ready_name(ready), taken.name])


def test_a_sandbox_that_cannot_be_made_is_reported_and_leaves_no_file(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    missing = replace(host.network, name="no-such-network")
    ready = ReadySandbox(host.engine, host.runner_id, host.directory, missing)
    ready.prepare_soon(0.0)
    until(lambda: "network of its own" in caplog.text)
    until(lambda: not list((host.directory / "sandboxes").iterdir()))
    assert names(host) == []
    with pytest.raises(PushmillError, match="no-such-network"):
        host.engine.sandboxes.start("other", host.runner_id, missing.name, renewable=True)
    host.engine.remove("other")


@pytest.mark.parametrize(("renewable", "rights"), [(True, "[SYS_ADMIN] 0:0"), (False, "[] 65534:65534")])
def test_a_sandbox_ends_at_once_and_may_do_nothing_but_renew_its_namespace(
    host: Host, renewable: bool, rights: str
) -> None:
    name = f"quick-{host.runner_id}"
    host.engine.sandboxes.start(name, host.runner_id, NETWORK, renewable=renewable)
    shown = "{{.HostConfig.CapDrop}} {{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapAdd}} {{.Config.User}}"
    assert docker("inspect", "--format", shown, name) == f"[ALL] true {rights}"
    docker("stop", "--time", "1000", name)  # longer than a test may take
    host.engine.remove(name)


@pytest.mark.parametrize("architecture", sorted(sandboxes.MACHINES))
def test_its_program_is_an_executable_of_that_architecture(architecture: str, tmp_path: Path) -> None:
    path = tmp_path / "sandbox"
    path.write_bytes(sandboxes.build_program(architecture))
    said = subprocess.run(["readelf", "--file-header", "--segments", path], capture_output=True, text=True, check=True)
    assert {"amd64": "X86-64", "arm64": "AArch64"}[architecture] in said.stdout
    assert "LOAD" in said.stdout
    assert "Warning" not in said.stdout + said.stderr
