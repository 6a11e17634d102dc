"""The usage of a container is sampled while it runs, also if the server, the driver or a process fails."""

from __future__ import annotations

import contextlib
import os
import threading
from itertools import pairwise
from pathlib import Path

import psutil
import pytest
from gpu_machine import FAKES, uuid_of, write_nvml
from instance import wait_for
from runner_host import BUSYBOX, executing, execution, keeper_process, take_up, until
from runner_server import Recorded, RunnerServer

from core.wire import ExecutionSpec
from runner.containers import usage
from runner.containers.usage import Meter
from runner.host import Host

BUSY = "while true; do :; done"


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "FIRST_S", 0.2)
    monkeypatch.setattr(usage, "INTERVAL_S", 0.2)


def busy() -> ExecutionSpec:
    return execution(BUSY, image=BUSYBOX, stop_grace_s=0.1)


def of(recorded: Recorded, series: str) -> list[float]:
    return [value for _, found, value in recorded.usage if found == series]


@pytest.mark.docker
def test_processors_and_memory_are_sampled_while_it_runs(host: Host, server: RunnerServer) -> None:
    recorded = server.add(busy())
    with executing(host, recorded.spec):
        until(lambda: len(of(recorded, "cpu")) > 4)
        recorded.stop = "kill"
    assert 0.1 < max(of(recorded, "cpu")) < 1.5
    assert all(10_000 < value < 100_000_000 for value in of(recorded, "memory"))
    assert {series for _, series, _ in recorded.usage} == {"cpu", "memory"}


@pytest.mark.docker
def test_samples_wait_for_a_server_that_is_away_and_come_in_order(host: Host, server: RunnerServer) -> None:
    recorded, refused = server.add(busy()), 0

    def away(path: str) -> int | None:
        nonlocal refused
        refused += path.endswith("usage")
        return 503 if path.endswith("usage") and refused < 5 else None

    server.before = away
    with executing(host, recorded.spec):
        until(lambda: len(of(recorded, "cpu")) >= 7)
        recorded.stop = "kill"
    assert refused >= 5
    times = [time_us for time_us, series, _ in recorded.usage if series == "cpu"]
    assert times == sorted(set(times))
    assert max(b - a for a, b in pairwise(times)) < 5_000_000


@pytest.mark.docker
def test_whoever_takes_a_container_up_goes_on_sampling(host: Host, server: RunnerServer) -> None:
    recorded = server.add(busy())
    with keeper_process(host, recorded.spec.uuid) as keeper:
        until(lambda: (host.executions / recorded.spec.uuid / "container.json").exists())
        until(lambda: recorded.lines("status"))
        keeper.kill()
        keeper.wait()
    thread = threading.Thread(target=take_up, args=(host,))
    thread.start()
    until(lambda: of(recorded, "cpu"))
    recorded.stop = "kill"
    thread.join(30)
    assert recorded.final["state"] == "stopped"


@pytest.fixture
def nvml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTHONPATH", str(FAKES))
    monkeypatch.setenv("FAKE_NVML", str(tmp_path / "nvml.json"))
    return tmp_path / "nvml.json"


def test_devices_are_numbered_in_the_order_of_the_execution(nvml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "METER_S", 60.0)  # of a busy machine, which takes long to start a program
    write_nvml(nvml, *({"uuid": uuid_of(n), "utilization": 10 * n, "used": n} for n in range(3)))
    meter = Meter([uuid_of(2), uuid_of(0)])
    expected = [("gpu:0", 20.0), ("gpu_memory:0", 2.0), ("gpu:1", 0.0), ("gpu_memory:1", 0.0)]
    assert meter.read() == meter.read() == expected
    meter.close()


def test_a_process_with_many_open_files_gets_its_samples_too(nvml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "METER_S", 60.0)
    write_nvml(nvml, {"uuid": uuid_of(0), "utilization": 10, "used": 1})
    with contextlib.ExitStack() as many:
        for _ in range(1100):
            many.enter_context(open(os.devnull))
        meter = Meter([uuid_of(0)])
        assert meter.read() == [("gpu:0", 10.0), ("gpu_memory:0", 1.0)]
        meter.close()


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children()}


def test_without_devices_nobody_is_asked() -> None:
    others = children()
    meter = Meter([])
    assert meter.read() == []
    assert children() <= others


def test_a_driver_that_hangs_costs_its_samples_alone(nvml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "METER_S", 1.0)
    write_nvml(nvml, fault="hang")
    others = children()
    meter = Meter([uuid_of(0)])
    assert meter.read() == meter.read() == []
    wait_for(lambda: children() <= others)
