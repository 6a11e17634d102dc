"""The GPUs of this machine: their inventory, and their allocation to executions.

A device is free if no live container on this Docker has it in its label `pushmill.gpus`. A lock held by a process would
not do: it ends with the process while its container keeps running.

The supervisor lists devices every 30 s without waiting for the answer, reports them, and writes them to a file for
the slots. There are as many slot processes as `slots` plus devices; the server decides how many executions with and
without GPUs run.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from core import locks
from core.errors import ExecutionFailed, PushmillError
from core.states import FailureReason
from runner.containers.devices import Holder
from runner.state_dir import read_json, write_json

log = logging.getLogger(__name__)

REFRESH_S = 30.0
PATIENCE_S = 10.0  # a driver that takes longer has a problem
WAIT_S = 0.5  # between two checks whether devices became free
POLL_S = 0.05
LISTING = [sys.executable, "-P", "-m", "runner.containers.nvml", "list"]
MACHINE_LOCKS = Path("/run/pushmill")  # owned by root: users who can write there could hold the lock for ever


@dataclass(frozen=True, kw_only=True)
class Gpu:
    uuid: str
    name: str
    memory_bytes: int


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """The devices that answer, in the driver's order. `problems` has a sentence about each other device."""

    driver_version: str = ""
    gpus: tuple[Gpu, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass
class GpuWatch:
    """Refreshes the inventory without blocking: a child process queries the driver and is abandoned if it hangs.

    `offered` returns why Docker cannot give the device with a UUID to containers, "" if it can. The inventory is also
    written to gpus.json in `directory`, where the slots read it.
    """

    directory: Path
    offered: Callable[[str], str]
    inventory: Inventory = field(default_factory=Inventory)
    _child: subprocess.Popen[bytes] | None = None
    _answer: IO[bytes] | None = None
    _asked_at: float = 0.0
    _refused: str | None = None

    def first(self) -> Inventory:
        """Wait for the next inventory. The first one is due immediately."""
        self.poll()
        while self._answer is not None:
            time.sleep(POLL_S)
            self.poll()
        return self.inventory

    def poll(self) -> None:
        """Start a query when one is due, and process its answer when it has arrived. Never blocks."""
        now = time.monotonic()
        if self._child is None:
            if not self._asked_at or now - self._asked_at >= REFRESH_S:
                self._ask(now)
        elif self._child.poll() is not None:
            self._child = None
            self._take(())
        elif self._answer is not None and now - self._asked_at > PATIENCE_S:
            self._child.kill()  # no new query starts until it has exited, which a hanging driver can prevent
            text = f"The NVIDIA driver does not answer within {PATIENCE_S:g} s; `nvidia-smi` may say more"
            self._take((text,))

    def _ask(self, now: float) -> None:
        self._asked_at = now
        self._answer = tempfile.TemporaryFile()  # noqa: SIM115  # closed in _take
        self._child = subprocess.Popen(LISTING, stdin=subprocess.DEVNULL, stdout=self._answer)

    def _take(self, problems: tuple[str, ...]) -> None:
        answer, self._answer = self._answer, None
        if answer is not None:
            answer.seek(0)
            found = parse(answer.read())
            answer.close()
            self._set(replace(found, problems=(*found.problems, *problems)))

    def _set(self, found: Inventory) -> None:
        if found.gpus and (refusal := self._refusal(found.gpus[0].uuid)):
            found = replace(found, gpus=(), problems=(*found.problems, refusal))
        for problem in found.problems:
            if problem not in self.inventory.problems:
                log.warning("%s", problem)
        if found.gpus != self.inventory.gpus:
            log.info("%d GPUs: %s", len(found.gpus), ", ".join(f"{gpu.uuid} ({gpu.name})" for gpu in found.gpus))
        self.inventory = found
        write_json(self.directory / "gpus.json", [asdict(gpu) for gpu in found.gpus])

    def _refusal(self, uuid: str) -> str:
        """Ask Docker once: only a restart of Docker changes the answer, and then the runner has to be restarted too."""
        if self._refused is None:
            try:
                self._refused = self.offered(uuid)
            except PushmillError as error:
                return str(error)
        return self._refused


def parse(answer: bytes) -> Inventory:
    """Parse the child's output, which may be truncated."""
    said: list[dict[str, Any]] = []
    with contextlib.suppress(ValueError):
        said += [json.loads(line) for line in answer.split(b"\n") if line]
    return Inventory(
        driver_version=next((item["driver_version"] for item in said if "driver_version" in item), ""),
        gpus=tuple(Gpu(**item["gpu"]) for item in said if "gpu" in item),
        problems=tuple(item["problem"] for item in said if "problem" in item),
    )


def read_inventory(directory: Path) -> list[Gpu]:
    """The devices in the supervisor's latest inventory."""
    return [Gpu(**item) for item in read_json(directory / "gpus.json") or []]


def create(
    wanted: int,
    directory: Path,
    *,
    holders: Callable[[], Mapping[str, Holder]],
    make: Callable[[Sequence[str]], str],
    status: Callable[[str], None],
    check: Callable[[], None],
) -> tuple[str, list[str]]:
    """Wait for `wanted` free devices and create a container with them; returns its id and their UUIDs.

    Devices are chosen and the container is created under one `flock` of the machine, so a process that dies in between
    leaves either nothing or a container whose label names its devices. `check` raises to end the wait. Raises
    ExecutionFailed if the machine has too few devices.
    """
    if not wanted:
        return make([]), []
    told = ""
    while True:
        there = [gpu.uuid for gpu in read_inventory(directory)]
        if len(there) < wanted:
            text = f"It asks for {_count(wanted)}, but this machine has {len(there) or 'none'} usable"
            raise ExecutionFailed(FailureReason.INTERNAL, text)
        with _locked(directory, check):
            try:
                taken = holders()
            except PushmillError as error:  # Docker may be restarted during the wait
                free, text = [], f"Waiting for {_count(wanted)}: {error}"
            else:
                free = [uuid for uuid in there if uuid not in taken]
                text = describe_wait(wanted, len(free), [(uuid, taken[uuid]) for uuid in there if uuid in taken])
            if len(free) >= wanted:
                return make(free[:wanted]), free[:wanted]
        if text != told:
            status(told := text)
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            check()
            time.sleep(POLL_S)


def describe_wait(wanted: int, free: int, taken: Sequence[tuple[str, Holder]]) -> str:
    """Status line of an execution that waits: how many devices are free, and which execution holds each other one."""
    held = ", ".join(f"{uuid} by execution {holder.execution or 'unknown'}" for uuid, holder in taken)
    return f"Waiting for {_count(wanted)}, {free or 'none'} free; held: {held}"


def _count(number: int) -> str:
    return f"{number} GPU{'' if number == 1 else 's'}"


@contextlib.contextmanager
def _locked(directory: Path, check: Callable[[], None]) -> Iterator[None]:
    """Hold the allocation lock, which all runners of this machine that run as root share."""
    place = directory
    if os.geteuid() == 0:
        place = MACHINE_LOCKS
        place.mkdir(mode=0o700, exist_ok=True)
    while True:
        with locks.hold(place / "gpus.lock", wait=False) as ours:
            if ours:
                yield
                return
        check()
        time.sleep(POLL_S)
