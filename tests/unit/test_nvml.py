"""How the runner handles answers and failures of NVML, with the stand-in of tests/fakes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from gpu_machine import FAKES, uuid_of, write_nvml
from instance import wait_for

from core.errors import PushmillError
from runner.containers import gpus
from runner.containers.gpus import Gpu, GpuWatch, Inventory, parse, read_inventory

PROGRAM = [sys.executable, "-P", "-m", "runner.containers.nvml"]


@pytest.fixture
def nvml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTHONPATH", str(FAKES))
    monkeypatch.setenv("FAKE_NVML", str(tmp_path / "nvml.json"))
    return tmp_path / "nvml.json"


def listed() -> Inventory:
    return parse(subprocess.run([*PROGRAM, "list"], capture_output=True, check=True, timeout=30).stdout)


def device(number: int, **more: Any) -> dict[str, Any]:
    return {"uuid": uuid_of(number), "name": "NVIDIA A100", "memory": 42949672960} | more


def test_whole_devices_are_listed_by_uuid_with_model_memory_and_driver(nvml: Path) -> None:
    write_nvml(nvml, device(0), device(1), driver_version="550.54.15")
    both = tuple(Gpu(uuid=uuid_of(number), name="NVIDIA A100", memory_bytes=42949672960) for number in (0, 1))
    assert listed() == Inventory(driver_version="550.54.15", gpus=both)


def test_a_machine_without_the_library_has_no_gpus_and_no_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(FAKES))
    monkeypatch.delenv("FAKE_NVML", raising=False)
    assert listed() == Inventory()


def test_the_real_library_says_the_same_on_a_machine_without_a_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    if Path("/dev/nvidiactl").exists():
        pytest.skip("this machine has an NVIDIA driver")
    monkeypatch.delenv("PYTHONPATH", raising=False)
    assert listed().gpus == ()


def test_a_driver_in_trouble_is_a_problem_in_a_sentence(nvml: Path) -> None:
    write_nvml(nvml, fault="DriverNotLoaded")
    found = listed()
    assert found.gpus == ()
    assert "DriverNotLoaded" in found.problems[0]


@pytest.mark.parametrize("fault", ["GpuIsLost", "hang"])
def test_a_device_that_does_not_answer_is_left_out_and_the_others_stay(nvml: Path, fault: str) -> None:
    write_nvml(nvml, device(0), device(1, fault=fault), device(2))
    found = listed()
    assert [gpu.uuid for gpu in found.gpus] == [uuid_of(0), uuid_of(2)]
    assert len(found.problems) == 1
    assert "GPU 1 does not answer" in found.problems[0]


def test_a_device_split_by_mig_is_left_out_by_name(nvml: Path) -> None:
    write_nvml(nvml, device(0, mig=True), device(1, mig=False))
    found = listed()
    assert [gpu.uuid for gpu in found.gpus] == [uuid_of(1)]
    assert uuid_of(0) in found.problems[0]


def test_usage_is_asked_of_the_devices_named_and_one_that_is_gone_has_none(nvml: Path) -> None:
    write_nvml(nvml, device(0, utilization=87, used=5), device(1, utilization=3, used=7), device(2, fault="GpuIsLost"))
    asked = [*PROGRAM, "usage", uuid_of(1), uuid_of(2), uuid_of(0), uuid_of(9)]
    answers = subprocess.run(asked, input=b"\n\n", capture_output=True, check=True, timeout=30).stdout.splitlines()
    assert [json.loads(answer) for answer in answers] == [[[3, 7], None, [87, 5], None]] * 2


def test_the_watch_takes_a_lost_device_out_and_puts_it_back(
    nvml: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpus, "REFRESH_S", 0.0)
    write_nvml(nvml, device(0), device(1))
    watch = GpuWatch(tmp_path, lambda uuid: "")
    assert watch.first().gpus == tuple(read_inventory(tmp_path))
    assert len(read_inventory(tmp_path)) == 2
    write_nvml(nvml, device(0), device(1, fault="GpuIsLost"))
    assert [gpu.uuid for gpu in watch.first().gpus] == [uuid_of(0)]
    assert [gpu.uuid for gpu in read_inventory(tmp_path)] == [uuid_of(0)]
    write_nvml(nvml, device(0), device(1))
    assert len(watch.first().gpus) == 2


def test_a_driver_that_hangs_never_holds_the_watch_up(
    nvml: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpus, "PATIENCE_S", 2.0)
    write_nvml(nvml, fault="hang")
    watch = GpuWatch(tmp_path, lambda uuid: "")
    polls = 0

    def given_up() -> bool:
        nonlocal polls
        watch.poll()
        polls += 1
        return bool(watch.inventory.problems)

    wait_for(given_up)
    assert "does not answer within 2 s" in watch.inventory.problems[0]
    assert polls > 5
    write_nvml(nvml, device(0))
    monkeypatch.setattr(gpus, "REFRESH_S", 0.0)
    wait_for(lambda: watch.poll() or watch.inventory.gpus)
    wait_for(lambda: watch.poll() or watch._child is None)


def test_a_docker_that_gives_no_gpus_makes_a_runner_without_any_and_a_sentence(nvml: Path, tmp_path: Path) -> None:
    write_nvml(nvml, device(0))
    found = GpuWatch(tmp_path, lambda uuid: f"Docker gives no {uuid}").first()
    assert found.gpus == ()
    assert found.problems == (f"Docker gives no {uuid_of(0)}",)
    assert read_inventory(tmp_path) == []


def test_a_docker_that_cannot_be_asked_is_asked_again(
    nvml: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpus, "REFRESH_S", 0.0)
    write_nvml(nvml, device(0))
    answers = [PushmillError("Docker is away"), None]

    def offered(uuid: str) -> str:
        if answer := answers.pop(0):
            raise answer
        return ""

    watch = GpuWatch(tmp_path, offered)
    assert watch.first().problems == ("Docker is away",)
    assert len(watch.first().gpus) == 1
    assert len(watch.first().gpus) == 1
