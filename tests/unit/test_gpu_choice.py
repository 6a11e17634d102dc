"""Choosing a device and creating its container is atomic for all processes of a machine."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from gpu_machine import uuid_of
from instance import wait_for

from core.errors import PushmillError
from runner.containers import gpus
from runner.containers.devices import Holder
from runner.state_dir import write_json


@pytest.fixture(autouse=True)
def devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four of them, and a lock that no runner of this machine holds."""
    monkeypatch.setattr(gpus, "MACHINE_LOCKS", tmp_path / "locks")
    write_json(tmp_path / "gpus.json", [{"uuid": uuid_of(n), "name": "", "memory_bytes": 0} for n in range(4)])


def holders(directory: Path) -> Mapping[str, Holder]:
    """What a Docker would say: a container is a file that is named by its device."""
    return {path.name: Holder(container_id="", execution=path.name, runner="") for path in directory.glob("GPU-*")}


def take(directory: Path, make: Callable[[Sequence[str]], str]) -> None:
    gpus.create(
        1, directory, holders=lambda: holders(directory), make=make, status=lambda text: None, check=lambda: None
    )


def forked(work: Callable[[], None]) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        work()
        os._exit(0)
    finally:
        os._exit(1)


def test_processes_that_choose_at_the_same_time_choose_different_devices(tmp_path: Path) -> None:
    start = tmp_path / "start"

    def work() -> None:
        wait_for(start.exists)

        def make(uuids: Sequence[str]) -> str:
            time.sleep(0.05)  # Docker takes its time
            (tmp_path / uuids[0]).touch(exist_ok=False)
            return ""

        take(tmp_path, make)

    pids = [forked(work) for _ in range(4)]
    start.touch()
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * 4
    assert len(holders(tmp_path)) == 4


def test_a_process_killed_between_choosing_and_making_leaves_the_device_free(tmp_path: Path) -> None:
    chosen = tmp_path / "chosen"

    def hang(uuids: Sequence[str]) -> str:
        chosen.touch()
        signal.pause()
        return ""

    pid = forked(lambda: take(tmp_path, hang))
    wait_for(chosen.exists)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    taken: list[str] = []
    take(tmp_path, lambda uuids: taken.extend(uuids) or "")
    assert taken == [uuid_of(0)]


def test_waiting_ends_when_the_execution_is_stopped(tmp_path: Path) -> None:
    for number in range(4):
        (tmp_path / uuid_of(number)).touch()
    said: list[str] = []

    def stopped() -> None:
        if said:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        gpus.create(
            2, tmp_path, holders=lambda: holders(tmp_path), make=lambda _: "", status=said.append, check=stopped
        )
    held = ", ".join(f"{uuid_of(n)} by execution {uuid_of(n)}" for n in range(4))
    assert said == [f"Waiting for 2 GPUs, none free; held: {held}"]


def test_a_docker_that_is_restarted_meanwhile_is_waited_for(tmp_path: Path) -> None:
    said: list[str] = []

    def asked() -> Mapping[str, Holder]:
        if not said:
            raise PushmillError("Docker does not say which GPUs are taken: it is away")
        return {}

    made, uuids = gpus.create(
        1, tmp_path, holders=asked, make=lambda uuids: "made", status=said.append, check=lambda: None
    )
    assert (made, uuids) == ("made", [uuid_of(0)])
    assert said == ["Waiting for 1 GPU: Docker does not say which GPUs are taken: it is away"]
