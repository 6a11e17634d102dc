"""A machine with GPUs that do not exist: a Docker daemon that offers them, and a driver library that lists them.

Docker 20.10 offers GPUs when it finds a program `nvidia-container-runtime-hook` on its PATH. It then puts the devices of a
request into the container's environment and runs that program before the start. Ours notes what it was to give.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from own_dockerd import IMAGES, OwnDockerd, own_dockerd

FAKES = Path(__file__).parent / "fakes"
HOOK = """#!{python}
import json, sys
state = json.load(sys.stdin)
with open(state["bundle"] + "/config.json") as file:
    variables = dict(item.split("=", 1) for item in json.load(file)["process"]["env"])
with open("{given}", "a") as file:
    file.write(variables["NVIDIA_VISIBLE_DEVICES"] + "\\n")
"""


def uuid_of(number: int) -> str:
    return f"GPU-{number:08x}-0000-4000-8000-000000000000"


@dataclass(frozen=True)
class GpuMachine:
    """`environment` is what a runner on it must be started with."""

    directory: Path
    docker: OwnDockerd

    @property
    def environment(self) -> dict[str, str]:
        return self.docker.environment | {"PYTHONPATH": str(FAKES), "FAKE_NVML": str(self.directory / "nvml.json")}

    def plug(self, *devices: dict[str, Any]) -> None:
        """Replace the devices of the machine, and the values that they report."""
        write_nvml(self.directory / "nvml.json", *devices)

    @property
    def given(self) -> list[str]:
        """Return the devices that Docker gave to each container, joined by commas."""
        path = self.directory / "given"
        return path.read_text().split() if path.exists() else []


def write_nvml(path: Path, *devices: dict[str, Any], **driver: Any) -> None:
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps(driver | {"devices": devices}))
    draft.replace(path)


@contextlib.contextmanager
def gpu_machine(directory: Path, gpus: int = 2, images: Sequence[str] = IMAGES) -> Iterator[GpuMachine]:
    programs = directory / "programs"
    programs.mkdir()
    hook = programs / "nvidia-container-runtime-hook"
    hook.write_text(HOOK.format(python=sys.executable, given=directory / "given"))
    hook.chmod(0o755)
    with own_dockerd(directory, path=f"{programs}:{os.environ['PATH']}", images=images) as daemon:
        machine = GpuMachine(directory, daemon)
        machine.plug(*({"uuid": uuid_of(number)} for number in range(gpus)))
        yield machine
