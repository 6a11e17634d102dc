"""Allocation of GPUs: one Docker daemon, and processes that are killed at the worst moments."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import pytest
from gpu_machine import GpuMachine, gpu_machine, uuid_of
from runner_host import BUSYBOX, docker, execute, execution, keeper_process, runner_host, take_up, until
from runner_server import Recorded, RunnerServer

from core.wire import ExecutionSpec
from runner.containers import devices
from runner.containers.engine import Engine
from runner.containers.gpus import GpuWatch
from runner.host import Host

pytestmark = pytest.mark.docker

SAY = 'echo "$NVIDIA_VISIBLE_DEVICES"'
CLOCK = "read up idle </proc/uptime; echo $up"
ENDLESS = "while true; do sleep 0.1; done"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GpuMachine]:
    with gpu_machine(tmp_path_factory.mktemp("gpus")) as machine:
        yield machine


@pytest.fixture
def host(machine: GpuMachine, server: RunnerServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """A runner on that machine that knows its devices."""
    for name, value in machine.environment.items():
        monkeypatch.setenv(name, value)
    with runner_host(tmp_path, server.url) as host:
        assert len(GpuWatch(tmp_path, host.engine.gpus.why_none).first().gpus) == 2
        yield host


def gpu_execution(*commands: str, gpus: int = 1) -> ExecutionSpec:
    return execution(*commands, image=BUSYBOX, gpus=gpus)


def lines(recorded: Recorded) -> list[str]:
    until(lambda: recorded.final)
    assert recorded.final["state"] == "complete", recorded.final
    return recorded.lines()


def printing(recorded: Recorded) -> str:
    """Return the device that a running execution prints."""
    until(recorded.lines)
    return recorded.lines()[0]


def waits(recorded: Recorded) -> str:
    def line() -> str:
        return next((line for line in recorded.lines("status") if line.startswith("Waiting for")), "")

    until(line)
    return line()


def test_executions_in_processes_of_their_own_never_share_a_device(
    host: Host, server: RunnerServer, machine: GpuMachine
) -> None:
    recorded = [server.add(gpu_execution(SAY, CLOCK, "sleep 0.5", CLOCK)) for _ in range(5)]
    with ExitStack() as processes:
        for one in recorded:
            processes.enter_context(keeper_process(host, one.spec.uuid))
        spans: dict[str, list[tuple[float, float]]] = {}
        for one in recorded:
            device, began, ended = lines(one)
            spans.setdefault(device, []).append((float(began), float(ended)))
            assert one.container["devices"] == [device]
    assert set(spans) == {uuid_of(0), uuid_of(1)}
    for held in spans.values():
        held.sort()
        assert all(ended <= began for (_, ended), (began, _) in pairwise(held)), held
    given = machine.given
    assert sorted(given[-5:]) == sorted(one.container["devices"][0] for one in recorded)


def test_one_that_asks_for_two_gets_both_and_its_documents_name_them(
    host: Host, server: RunnerServer, machine: GpuMachine
) -> None:
    machine.plug({"uuid": uuid_of(0), "name": "A"}, {"uuid": uuid_of(1), "name": "B", "memory": 7})
    GpuWatch(host.directory, lambda uuid: "").first()
    recorded = server.add(gpu_execution(SAY, "cat /valohai/config/runtime.json", gpus=2))
    execute(host, recorded.spec.uuid, 1)
    said, *document = lines(recorded)
    assert said == f"{uuid_of(0)},{uuid_of(1)}" == machine.given[-1]
    assert recorded.container["devices"] == [uuid_of(0), uuid_of(1)]
    described = json.loads("\n".join(document))["gpus"]
    assert [(gpu["uuid"], gpu["name"]) for gpu in described] == [(uuid_of(0), "A"), (uuid_of(1), "B")]
    assert described[1]["memory_bytes"] == 7


def test_one_that_asks_for_more_than_there_are_fails_with_a_sentence(host: Host, server: RunnerServer) -> None:
    recorded = server.add(gpu_execution("true", gpus=3))
    execute(host, recorded.spec.uuid, 1)
    assert recorded.final["failure_reason"] == "internal"
    assert recorded.final["message"] == "It asks for 3 GPUs, but this machine has 2 usable"


def test_a_device_stays_taken_when_the_process_that_took_it_is_killed(host: Host, server: RunnerServer) -> None:
    first, second, third = [server.add(gpu_execution(SAY, ENDLESS)) for _ in range(3)]
    with keeper_process(host, first.spec.uuid) as keeper:
        taken = printing(first)
        keeper.kill()
        keeper.wait()
        with keeper_process(host, second.spec.uuid), keeper_process(host, third.spec.uuid):
            other = {uuid_of(0): uuid_of(1), uuid_of(1): uuid_of(0)}[taken]
            until(lambda: second.lines() or third.lines())
            lucky, waiting = (second, third) if second.lines() else (third, second)
            assert printing(lucky) == other
            said = waits(waiting)
            assert f"{taken} by execution {first.spec.uuid}" in said
            assert f"{other} by execution {lucky.spec.uuid}" in said
            waiting.stop = "stop"
            until(lambda: waiting.final)
            assert waiting.final["state"] == "stopped"
            lucky.stop = "kill"
            until(lambda: lucky.final)
    first.stop = "kill"
    take_up(host)
    assert first.final["state"] == "stopped"
    assert host.engine.gpus.holders() == {}


def test_a_container_of_another_runner_is_waited_for_and_one_that_ended_is_not(
    host: Host, server: RunnerServer, machine: GpuMachine
) -> None:
    label = f"{devices.LABEL}={uuid_of(0)},{uuid_of(1)}"
    docker("run", "--name", "ended", "--label", label, BUSYBOX, "echo")
    docker("create", "--name", "theirs", "--label", label, "--label", "pushmill.execution=theirs", BUSYBOX, "echo")
    recorded = server.add(gpu_execution(SAY))
    with keeper_process(host, recorded.spec.uuid):
        assert "by execution theirs" in waits(recorded)
        docker("rm", "theirs")
        assert lines(recorded) == [uuid_of(0)]
    docker("rm", "ended")


def test_without_gpus_a_container_sees_none_whatever_its_image_says(host: Host, server: RunnerServer) -> None:
    docker("build", "-q", "-t", "greedy", "-", stdin=f"FROM {BUSYBOX}\nENV NVIDIA_VISIBLE_DEVICES=all\n".encode())
    recorded = server.add(execution(SAY, image="greedy"))
    execute(host, recorded.spec.uuid, 1)
    assert lines(recorded) == ["void"]


def test_a_docker_without_the_nvidia_runtime_is_noticed() -> None:
    engine = Engine()
    assert "nvidia-container-toolkit" in engine.gpus.why_none(uuid_of(0))
    engine.close()


def test_the_question_costs_no_container_where_docker_gives_gpus(host: Host) -> None:
    assert host.engine.gpus.why_none(uuid_of(0)) == ""
    assert docker("ps", "-aq") == ""
    assert docker("images", "--format", "{{.Repository}}").split().count("<none>") == 0
