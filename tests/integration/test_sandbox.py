"""Network sandboxes: which execution joins which, what it shares with others, and that none is left."""

from __future__ import annotations

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
    execution,
    keeper_process,
    take_up,
    until,
    with_sandbox,
)
from runner_server import RunnerServer

from core.errors import PushmillError
from runner import sandbox
from runner.containers import sandboxes
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


def test_an_execution_joins_the_ready_sandbox_and_no_other_one_does(server: RunnerServer, ready: Host) -> None:
    joined = []
    for _ in range(2):
        until(lambda: ready_name(ready))
        joined.append(ready_name(ready))
        namespace = namespace_of(joined[-1])
        assert run(server, ready, NAMESPACE, INTERFACES) == [namespace, "eth0", "lo"]
    assert joined[0] != joined[1]


def test_a_sandbox_is_removed_after_its_execution(server: RunnerServer, ready: Host) -> None:
    taken = ready_name(ready)
    run(server, ready, "echo done")
    until(lambda: taken not in names(ready))


def test_a_sandbox_may_be_reused_after_an_execution_that_sent_nothing(server: RunnerServer, reusing: Host) -> None:
    name = ready_name(reusing)
    namespace = namespace_of(name)
    for _ in range(3):
        assert run(server, reusing, NAMESPACE) == [namespace]
        assert names(reusing) == [name]


@pytest.mark.parametrize(
    "use",
    {
        "a connection to itself": 'python3 -c \'import socket; s = socket.create_server(("127.0.0.1", 0));'
        " socket.create_connection(s.getsockname())'",
        "a datagram to itself": "python3 -c 'import socket; s = socket.socket(type=socket.SOCK_DGRAM);"
        ' s.sendto(b"x", ("127.0.0.1", 9))\'',
        "a neighbour asked for": "python3 -c 'import socket; s = socket.socket(type=socket.SOCK_DGRAM);"
        ' s.sendto(b"x", (socket.gethostbyname(socket.gethostname())[:-1] + "9", 9))\'; sleep 0.1',
        "a name looked up": "python3 -c 'import socket; socket.getaddrinfo(\"nowhere.invalid\", 80)' || true",
        "a host name added": "echo '192.0.2.1 example.org' >> /etc/hosts",
        "a host name written over, of the same length": "tr 0-9 1 < /etc/hosts > /tmp/hosts; touch -r /etc/hosts"
        " /tmp/hosts; cat /tmp/hosts > /etc/hosts; touch -r /tmp/hosts /etc/hosts",
        "another name server": "echo 'nameserver 192.0.2.1' > /etc/resolv.conf",
        "a file that nobody may read": "chmod 0 /etc/resolv.conf",
        "a file of somebody else": "chown 1000 /etc/hosts",
    }.items(),
    ids=lambda use: use[0],
)
def test_an_execution_that_left_a_trace_in_its_sandbox_is_the_last_one_in_it(
    server: RunnerServer, reusing: Host, use: tuple[str, str]
) -> None:
    name = ready_name(reusing)
    run(server, reusing, use[1])
    assert ready_name(reusing) != name
    until(lambda: name not in names(reusing))


def test_a_sandbox_whose_traces_cannot_be_seen_is_used_once(host: Host) -> None:
    unseen = sandboxes.Sandbox("unseen", [], pid=2**22 + 1, traces=sandboxes.traces(2**22 + 1))
    assert not unseen.is_unused()


def test_no_second_sandbox_is_made_while_the_one_in_use_can_still_be_given_back(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "LENT_S", 0.123)
    ready = with_sandbox(host, reuse=True).ready_sandbox
    directory = host.executions / "taken"
    directory.mkdir(parents=True)
    assert ready is not None
    taken = ready.take(directory)
    assert taken is not None
    ready.prepare_soon(0.0)
    until(lambda: 0.123 in [thread.interval for thread in threading.enumerate() if isinstance(thread, threading.Timer)])
    assert names(host) == [taken.name]
    docker("run", "--rm", f"--network=container:{taken.name}", BUSYBOX, "/bin/sh", "-c", "ping -c 1 127.0.0.1")
    until(lambda: ready.name)
    assert sorted(names(host)) == sorted([taken.name, ready.name])


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
    found = sandbox.taken(ready.executions / recorded.spec.uuid)
    assert found is not None
    docker("kill", found.name)
    take_up(ready)
    assert recorded.final["state"] == "complete"
    assert recorded.lines("stdout") == ["eth0", "lo"]


def test_an_execution_without_network_joins_no_sandbox(server: RunnerServer, ready: Host) -> None:
    before = ready_name(ready)
    recorded = server.add(execution(INTERFACES, network="none"))
    execute(ready, recorded.spec.uuid, 1)
    assert recorded.lines("stdout") == ["lo"]
    assert ready_name(ready) == before


def test_an_execution_reaches_its_relay_from_a_sandbox(server: RunnerServer, ready: Host) -> None:
    program = (
        "import json, urllib.request; api = json.load(open('/valohai/config/api.json'))['set_status_detail'];"
        " body = json.dumps({'status_detail': 'half'}).encode();"
        " request = urllib.request.Request(api['url'], body, api['headers'], method='POST');"
        " print(urllib.request.urlopen(request, timeout=10).status)"
    )
    recorded = server.add(execution(f'python3 -c "{program}"'))
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
    found = sandbox.taken(host.executions / recorded.spec.uuid)
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
    host.engine.sandboxes.start(f"stray-{host.runner_id}", host.runner_id, NETWORK)
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
    ready = ReadySandbox(host.engine, host.runner_id, host.directory, replace(host.settings, network="no-such-network"))
    ready.prepare_soon(0.0)
    until(lambda: "network of its own" in caplog.text)
    until(lambda: not list((host.directory / "sandboxes").iterdir()))
    assert names(host) == []
    with pytest.raises(PushmillError, match="no-such-network"):
        host.engine.sandboxes.start("other", host.runner_id, "no-such-network")
    host.engine.remove("other")


def test_a_sandbox_ends_at_once_and_has_no_rights(host: Host) -> None:
    name = f"quick-{host.runner_id}"
    host.engine.sandboxes.start(name, host.runner_id, NETWORK)
    inspected = docker(
        "inspect", "--format", "{{.HostConfig.CapDrop}} {{.Config.User}} {{.HostConfig.ReadonlyRootfs}}", name
    )
    assert inspected == "[ALL] 65534:65534 true"
    docker("stop", "--time", "1000", name)  # longer than a test may take
    host.engine.remove(name)


@pytest.mark.parametrize("architecture", sorted(sandboxes.MACHINES))
def test_its_program_is_an_executable_of_that_architecture(architecture: str, tmp_path: Path) -> None:
    path = tmp_path / "pause"
    path.write_bytes(sandboxes.program(architecture))
    said = subprocess.run(["readelf", "--file-header", "--segments", path], capture_output=True, text=True, check=True)
    assert {"amd64": "X86-64", "arm64": "AArch64"}[architecture] in said.stdout
    assert "LOAD" in said.stdout
    assert "Warning" not in said.stdout + said.stderr
