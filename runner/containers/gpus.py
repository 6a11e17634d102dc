"""The GPUs of this machine: which there are, and which of them an execution gets.

A device is free when no live container on this Docker carries it in its label: what a process holds dies with it while
its container computes on.

The supervisor lists devices every 30 s without waiting for the answer, reports them, and writes them to a file for
the slots. There are as many slot processes as `slots` plus devices; the server decides how many executions of either
kind run.

Looking for free devices and creating the container happen under one `flock` of the machine: a process that dies in
between leaves either nothing or a container whose label `pushmill.gpus` names its devices.
"""

from __future__ import annotations

import contextlib
import fcntl
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

from core.errors import ExecutionFailed, PushmillError
from core.states import FailureReason
from runner.containers.devices import Holder
from runner.state_dir import read_json, write_json

log = logging.getLogger(__name__)

REFRESH_S = 30.0
PATIENCE_S = 10.0  # a driver that needs longer is in trouble
WAIT_S = 0.5  # between two looks at devices that are taken
POLL_S = 0.05
LISTING = [sys.executable, "-P", "-m", "runner.containers.nvml", "list"]
MACHINE_LOCKS = Path("/run/pushmill")  # root's: where others may write they could hold the lock for ever


@dataclass(frozen=True, kw_only=True)
class Gpu:
    uuid: str
    name: str
    memory_bytes: int


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """The devices that answer, in the driver's order. `problems` are sentences about the others."""

    driver_version: str = ""
    gpus: tuple[Gpu, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass
class Watch:
    """Keeps the inventory fresh without ever waiting: a child asks the driver, and is given up when it hangs.

    `offered` says why Docker gives no GPUs to containers, "" when it does. The inventory also goes to a file, where the
    slots find it.
    """

    directory: Path
    offered: Callable[[str], str]
    inventory: Inventory = field(default_factory=Inventory)
    _child: subprocess.Popen[bytes] | None = None
    _answer: IO[bytes] | None = None
    _asked_at: float = 0.0
    _refused: str | None = None

    def first(self) -> Inventory:
        """Wait for the next inventory, which is due at once the first time."""
        self.poll()
        while self._answer is not None:
            time.sleep(POLL_S)
            self.poll()
        return self.inventory

    def poll(self) -> None:
        """Start asking when it is time to, and take the answer once it is there."""
        now = time.monotonic()
        if self._child is None:
            if not self._asked_at or now - self._asked_at >= REFRESH_S:
                self._ask(now)
        elif self._child.poll() is not None:
            self._child = None
            self._take(())
        elif self._answer is not None and now - self._asked_at > PATIENCE_S:
            self._child.kill()  # as long as it is beyond that nobody is asked again
            text = f"The NVIDIA driver does not answer within {PATIENCE_S:g} s; `nvidia-smi` may say more"
            self._take((text,))

    def _ask(self, now: float) -> None:
        self._asked_at = now
        self._answer = tempfile.TemporaryFile()  # noqa: SIM115  # closed when the answer is taken
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
        """Asked once: the answer changes with a restart of Docker, which wants one of the runner."""
        if self._refused is None:
            try:
                self._refused = self.offered(uuid)
            except PushmillError as error:
                return str(error)
        return self._refused


def parse(answer: bytes) -> Inventory:
    """What the child printed, as far as it came."""
    said: list[dict[str, Any]] = []
    with contextlib.suppress(ValueError):
        said += [json.loads(line) for line in answer.split(b"\n") if line]
    return Inventory(
        driver_version=next((item["driver_version"] for item in said if "driver_version" in item), ""),
        gpus=tuple(Gpu(**item["gpu"]) for item in said if "gpu" in item),
        problems=tuple(item["problem"] for item in said if "problem" in item),
    )


def known(directory: Path) -> list[Gpu]:
    """The devices that the runner's supervisor found last."""
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
    """Make a container with `wanted` devices that nobody has, waiting for them; returns its id and their UUIDs.

    Choosing and making happen under one lock of the machine, so a process that dies between leaves nothing, or a
    container whose label tells. `check` raises when waiting should end. Raises ExecutionFailed when there are too few.
    """
    if not wanted:
        return make([]), []
    told = ""
    while True:
        there = [gpu.uuid for gpu in known(directory)]
        if len(there) < wanted:
            text = f"It asks for {_count(wanted)}, and this machine has {len(there) or 'none'} that can be used"
            raise ExecutionFailed(FailureReason.INTERNAL, text)
        with _locked(directory, check):
            try:
                taken = holders()
            except PushmillError as error:  # it may be restarted while we wait
                free, text = [], f"Waiting for {_count(wanted)}: {error}"
            else:
                free = [uuid for uuid in there if uuid not in taken]
                text = waiting(wanted, len(free), [(uuid, taken[uuid]) for uuid in there if uuid in taken])
            if len(free) >= wanted:
                return make(free[:wanted]), free[:wanted]
        if text != told:
            status(told := text)
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            check()
            time.sleep(POLL_S)


def waiting(wanted: int, free: int, taken: Sequence[tuple[str, Holder]]) -> str:
    """Who holds what an execution waits for."""
    held = ", ".join(f"{uuid} by execution {holder.execution or 'unknown'}" for uuid, holder in taken)
    return f"Waiting for {_count(wanted)}, {free or 'none'} free; held: {held}"


def _count(number: int) -> str:
    return f"{number} GPU{'' if number == 1 else 's'}"


@contextlib.contextmanager
def _locked(directory: Path, check: Callable[[], None]) -> Iterator[None]:
    """Hold the lock that all runners of this machine share, as far as they are root's."""
    place = directory
    if os.geteuid() == 0:
        place = MACHINE_LOCKS
        place.mkdir(mode=0o700, exist_ok=True)
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(place / "gpus.lock", flags, 0o600)
    try:
        while not _taken(descriptor):
            check()
            time.sleep(POLL_S)
        yield
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
