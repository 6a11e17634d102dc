"""Whole GPUs from push to container, on a machine whose Docker offers two devices that do not exist."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import psutil
import pytest
from gpu_machine import GpuMachine, gpu_machine, uuid_of
from instance import Checkout, Instance, running, wait_for

from web.store import runners
from web.store.db import connect

pytestmark = [pytest.mark.docker, pytest.mark.redis]

CLOCK = "read up idle </proc/uptime; echo $up"
CONFIG = '[runner]\nslots = 1\nmemory = "100 MiB"\nshm = "64 MiB"\n[limits]\nstop_grace = "2 s"\n'


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GpuMachine]:
    with gpu_machine(tmp_path_factory.mktemp("gpus")) as machine:
        machine.plug(*({"uuid": uuid_of(n), "utilization": 40 + n, "used": 10 + n} for n in range(2)))
        yield machine


@pytest.fixture(scope="module")
def gpu_server(machine: GpuMachine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in machine.environment.items():
            patch.setenv(name, value)
        with running(tmp_path_factory.mktemp("data"), CONFIG) as instance:
            yield instance


def step(name: str, gpus: int, *commands: str) -> str:
    lines = [f"- step:\n    name: {name}\n    image: pushmill-test-busybox\n    command:"]
    lines += [f"      - {json.dumps(command)}" for command in commands]
    if gpus:
        lines.append(f"    resources:\n      devices:\n        nvidia.com/gpu: {gpus}")
    return "\n".join(lines) + "\n"


def push(server: Instance, checkout: Checkout, project: str, *steps: str) -> None:
    checkout.commit({"valohai.yaml": "".join(steps)})
    checkout.push(server.git_url(project))
    wait_for(lambda: len(server.executions(project)) == len(steps))


def first_line(server: Instance, execution: str) -> str:
    return wait_for(lambda: server.events(execution, "stdout"))[0]


def test_a_runner_tells_its_gpus_and_counts_its_slots_without_them(gpu_server: Instance) -> None:
    db = connect(gpu_server.data / "pushmill.db")
    runner = wait_for(lambda: next((one for one in runners.list_runners(db) if one.info.get("gpus")), None))
    db.close()
    assert [gpu["uuid"] for gpu in runner.info["gpus"]] == [uuid_of(0), uuid_of(1)]
    assert (runner.slots, runner.info["driver_version"], runner.info["problems"]) == (1, "550.54.15", [])


def test_executions_that_ask_for_one_gpu_never_share_one_and_both_are_used(
    gpu_server: Instance, checkout: Checkout
) -> None:
    said = 'echo "$NVIDIA_VISIBLE_DEVICES"'
    push(gpu_server, checkout, "single", *(step(f"s{i}", 1, said, CLOCK, "sleep 0.5", CLOCK) for i in range(6)))
    spans: dict[str, list[tuple[float, float]]] = {}
    for execution in gpu_server.executions("single"):
        final = gpu_server.wait_final(execution["id"])
        assert final["status"] == "complete", final
        device, began, ended = gpu_server.events(execution["id"], "stdout")
        spans.setdefault(device, []).append((float(began), float(ended)))
    assert set(spans) == {uuid_of(0), uuid_of(1)}
    for held in spans.values():
        assert all(ended <= began for (_, ended), (began, _) in pairwise(sorted(held))), held


def test_one_that_asks_for_two_gets_both_while_the_slot_for_processors_stays_free(
    gpu_server: Instance, checkout: Checkout
) -> None:
    said = 'echo "$NVIDIA_VISIBLE_DEVICES"'
    push(gpu_server, checkout, "both", step("two", 2, said, "sleep 60"), step("none", 0, said))
    two, none = (str(execution["id"]) for execution in gpu_server.executions("both"))
    assert first_line(gpu_server, two) == f"{uuid_of(0)},{uuid_of(1)}"
    assert gpu_server.wait_final(none)["status"] == "complete"
    assert gpu_server.events(none, "stdout") == ["void"]
    assert gpu_server.execution(two)["status"] == "started"
    gpu_server.client.post(f"/executions/{two}/stop/")
    assert gpu_server.wait_final(two)["status"] == "stopped"


def test_a_gpu_stays_taken_when_the_slot_is_killed_while_its_container_computes(
    gpu_server: Instance, checkout: Checkout
) -> None:
    endless = ('echo "$NVIDIA_VISIBLE_DEVICES"', "while true; do sleep 0.1; done")
    push(gpu_server, checkout, "killed", step("first", 1, *endless), step("second", 1, *endless))
    first, second = (str(execution["id"]) for execution in gpu_server.executions("killed"))
    devices = {first_line(gpu_server, first), first_line(gpu_server, second)}
    assert devices == {uuid_of(0), uuid_of(1)}
    kill_keeper(gpu_server, first)
    push_third = step("third", 1, 'echo "$NVIDIA_VISIBLE_DEVICES"')
    checkout.commit({"valohai.yaml": push_third})
    checkout.push(gpu_server.git_url("killed"))
    third = str(wait_for(lambda: gpu_server.executions("killed")[2:])[0]["id"])
    gpu_server.client.post(f"/executions/{second}/stop/")
    gpu_server.wait_final(second)
    assert gpu_server.wait_final(third)["status"] == "complete"
    assert gpu_server.events(third, "stdout") == [(devices - {first_line(gpu_server, first)}).pop()]
    gpu_server.client.post(f"/executions/{first}/stop/")
    assert gpu_server.wait_final(first)["status"] == "stopped"


def test_what_an_execution_uses_of_its_gpus_is_kept(gpu_server: Instance, checkout: Checkout) -> None:
    push(gpu_server, checkout, "used", step("busy", 2, "while true; do :; done"))
    execution = gpu_server.executions("used")[0]
    url = f"{gpu_server.url}/p/used/executions/{execution['counter']}/usage"

    def charts() -> dict[str, list[str]]:
        found = gpu_server.client.get(url).json()["charts"]
        return {chart["kind"]: [line["last"] for line in chart["lines"]] for chart in found}

    wait_for(charts)
    assert charts()["gpu"] == ["40 %", "41 %"]
    assert charts()["gpu_memory"] == ["10 B", "11 B"]
    wait_for(lambda: float(charts()["cpu"][0]) > 0.1)  # it may have begun to run just before the first sample
    gpu_server.client.post(f"/executions/{execution['id']}/stop/")
    gpu_server.wait_final(str(execution["id"]))


def kill_keeper(server: Instance, execution: str) -> None:
    """Kill the process that holds the execution's lock with SIGKILL."""
    inode = os.stat(next(Path(server.data).glob(f"runner/executions/{execution}/lock"))).st_ino
    assert server.process is not None
    for process in psutil.Process(server.process.pid).children(recursive=True):
        if any(os.stat(file.path).st_ino == inode for file in process.open_files() if os.path.exists(file.path)):
            process.send_signal(signal.SIGKILL)
            process.wait(5)
            return
    raise AssertionError("nobody holds the lock")
