"""Containers get what the environment of their execution allows, and nothing else."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from docker_registry import registry
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from runner_host import BUSYBOX, docker, execute, execution, runner_host
from runner_server import Recorded, RunnerServer

from runner.host import Host

pytestmark = pytest.mark.docker


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    directory = tmp_path / "shared"
    directory.mkdir()
    (directory / "data").write_text("precious\n")
    (directory / "data").chmod(0o666)
    directory.chmod(0o777)
    return directory


@pytest.fixture
def host(server: RunnerServer, tmp_path: Path, shared: Path) -> Iterator[Host]:
    given = {"mounts": (f"{shared}:rw",), "allow_registries": ("127.0.0.1",)}
    with runner_host(tmp_path / "data" / "runner", server.url, **given) as host:
        yield host


def run(server: RunnerServer, host: Host, *commands: str, **given: Any) -> Recorded:
    recorded = server.add(execution(*commands, **given))
    execute(host, recorded.spec.uuid, 1)
    return recorded


def mount(source: Path, readonly: bool = True) -> dict[str, Any]:
    return {"source": str(source), "destination": "/data", "readonly": readonly}


def test_an_allowed_directory_is_there_read_only(server: RunnerServer, host: Host, shared: Path) -> None:
    recorded = run(server, host, "cat /data/data; echo spoilt >/data/data", mounts=[mount(shared)])
    assert recorded.lines() == ["precious"]
    assert recorded.final["failure_reason"] == "command_failed"
    assert (shared / "data").read_text() == "precious\n"
    assert f"Mount of {shared} at /data, read-only" in recorded.lines("status")


def test_what_is_mounted_below_a_read_only_directory_cannot_be_written_either(
    server: RunnerServer, host: Host, shared: Path
) -> None:
    below = shared / "below"
    below.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(below)], check=False).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        recorded = run(server, host, "touch /data/below/x", mounts=[mount(shared)])
        assert recorded.final["failure_reason"] == "command_failed"
        assert not (below / "x").exists()
    finally:
        subprocess.run(["umount", str(below)], check=True)


def test_it_is_writable_where_all_say_so(server: RunnerServer, host: Host, shared: Path) -> None:
    recorded = run(server, host, "echo more >>/data/data", mounts=[mount(shared, readonly=False)])
    assert recorded.final["state"] == "complete"
    assert (shared / "data").read_text() == "precious\nmore\n"


def test_a_mount_that_is_refused_or_missing_is_a_line_and_no_error(
    server: RunnerServer, host: Host, shared: Path, tmp_path: Path
) -> None:
    asked = [mount(tmp_path), mount(shared / "absent"), mount(host.directory)]
    recorded = run(server, host, "ls -d /data || echo none", mounts=asked)
    assert recorded.lines() == ["none"]
    assert recorded.final["state"] == "complete"
    told = [line for line in recorded.lines("status") if line.startswith("Mount")]
    assert [line.partition(" is skipped: ")[2] for line in told] == [
        "this runner does not allow it; [runner] mounts of its configuration does",
        "the directory does not exist on this runner",
        "this runner does not allow it; [runner] mounts of its configuration does",
    ]


def test_a_link_that_an_earlier_container_left_leads_nowhere(server: RunnerServer, host: Host, shared: Path) -> None:
    run(server, host, "ln -s /etc /data/link", mounts=[mount(shared, readonly=False)])
    assert (shared / "link").is_symlink()
    recorded = run(server, host, "ls -d /data || echo none", mounts=[mount(shared / "link", readonly=False)])
    assert recorded.lines() == ["none"]


def test_without_network_there_is_no_way_out_and_no_relay(server: RunnerServer, host: Host) -> None:
    commands = ("ls /sys/class/net", "cat /valohai/config/api.json", f"nc -w 2 {host.network.gateway} 22 </dev/null")
    recorded = run(server, host, *commands, image=BUSYBOX, network="none")
    assert recorded.lines() == ["lo", "{}"]
    assert recorded.final["message"].startswith("Command 3 of 3 exited with ")


def test_an_environment_that_always_pulls_does(server: RunnerServer, host: Host, tmp_path: Path) -> None:
    with registry(tmp_path) as address:
        name = f"{address}/ada/box:1"
        docker("tag", BUSYBOX, name)
        try:
            docker("push", name)
            for pull, pulled in (("missing", False), ("always", True)):
                status = run(server, host, "true", image=name, pull=pull).lines("status")
                assert any(line.startswith(f"Pulled image {name}") for line in status) is pulled
        finally:
            docker("rmi", name)


HOSTILE = st.sampled_from(
    [
        "--privileged",
        "host",
        "container:1",
        "/var/run/docker.sock",
        "/:/host:rw",
        "seccomp=unconfined",
        "SYS_ADMIN",
        "all",
    ]
)
WORDS = st.sampled_from(
    ["privileged", "VH_DOCKER_NETWORK", "VH_DOCKER_OPTIONS", "DOCKER_OPTS", "pid", "ipc", "cap-add", "devices", "binds"]
)
ASKED_MOUNTS = st.fixed_dictionaries(
    {
        "source": st.sampled_from(["/", "/etc", "/var/run/docker.sock", "/dev", "/proc", "/../etc", "x", "volume"]),
        "destination": st.sampled_from(["/d", "/", "/proc", "/etc/../proc", "/dev/shm", "/d:rw,shared"]),
        "readonly": st.booleans(),
    },
    optional={"type": HOSTILE, "options": st.dictionaries(WORDS, HOSTILE), "propagation": st.just("shared")},
)
NARROW = {
    **dict.fromkeys(("Binds", "CapAdd", "VolumesFrom", "Devices", "DeviceRequests", "DeviceCgroupRules", "Links")),
    **dict.fromkeys(("GroupAdd", "Sysctls", "ExtraHosts", "PortBindings", "StorageOpt", "Ulimits")),
    "Privileged": False,
    "PublishAllPorts": False,
    "PidMode": "",
    "UTSMode": "",
    "UsernsMode": "",
    "CgroupParent": "",
    "SecurityOpt": ["no-new-privileges"],
}


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    variables=st.dictionaries(WORDS, HOSTILE, max_size=5),
    config=st.dictionaries(WORDS, HOSTILE | st.lists(HOSTILE), max_size=5),
    mounts=st.lists(ASKED_MOUNTS, max_size=4),
    network=HOSTILE | st.sampled_from(["none", "open"]),
)
def test_nothing_that_a_step_can_say_widens_what_its_container_may_do(
    server: RunnerServer, host: Host, variables: Any, config: Any, mounts: Any, network: str
) -> None:
    recorded = server.add(
        execution("true", image=BUSYBOX, environment_variables=variables, config=config, mounts=mounts, network=network)
    )
    seen: list[dict[str, Any]] = []
    server.before = lambda path: look(seen, host) if path.endswith("/container") else None
    execute(host, recorded.spec.uuid, 1)
    [found] = seen
    limits = found["HostConfig"]
    assert {key: limits.get(key) or NARROW[key] for key in NARROW} == NARROW
    assert limits["NetworkMode"] == (host.settings.network if network == "open" else "none")
    assert limits["IpcMode"] in ("", "private", "shareable")
    assert sorted(limits["CapDrop"]) == ["MKNOD", "NET_RAW"]
    sources = [entry["Source"] for entry in limits["Mounts"] if entry.get("Source")]
    assert all(source.startswith(f"{host.executions}/") for source in sources)


def look(seen: list[dict[str, Any]], host: Host) -> None:
    """Return the description by Docker of the container that was created but not started."""
    [container] = host.engine.managed(host.runner_id)
    seen.append(json.loads(docker("inspect", container.container_id))[0])
