"""The server's disk fills while an execution ends: the runner keeps the outputs, and uploads them later."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from instance import Checkout, Instance, running, wait_for
from machines import UNTIL_GO
from test_push import step

pytestmark = [pytest.mark.docker, pytest.mark.redis, pytest.mark.root]

MB = 10**6
CONFIG = """
[server]
min_free_disk = "100 MB"
[runner]
min_free_disk = "1 MB"
"""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    directory = tmp_path / "disk"
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=500m", "tmpfs", str(directory)], check=True)
    yield directory
    subprocess.run(["umount", "--lazy", str(directory)], check=True)


@pytest.fixture
def small(disk: Path) -> Iterator[Instance]:
    with running(disk / "data", CONFIG) as instance:
        yield instance


def test_outputs_wait_for_room_and_nothing_is_lost(small: Instance, disk: Path, checkout: Checkout) -> None:
    commands = ("head -c 40000000 /dev/urandom >/valohai/outputs/model", "echo written", UNTIL_GO)
    checkout.commit({"valohai.yaml": step("train", *commands)})
    checkout.push(small.git_url("full"))
    execution = wait_for(lambda: next(iter(small.executions("full")), None))
    wait_for(lambda: "written" in small.events(execution["id"], "stdout"))
    other = disk / "other"
    with open(other, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(disk).free - 120 * MB)

    (small.data / "runner" / "executions" / execution["id"] / "outputs" / "go").touch()

    def waits() -> bool:
        said = small.events(execution["id"], "status")
        return any("Outputs wait on the runner: The server has" in line for line in said)

    wait_for(waits)
    assert small.execution(execution["id"])["status"] == "started"
    other.unlink()
    assert small.wait_final(execution["id"])["status"] == "complete"
    assert {output["name"]: output["size"] for output in small.outputs(execution["id"])} == {
        "go": 0,
        "model": 40_000_000,
    }
