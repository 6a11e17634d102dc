"""Which runner a queued execution goes to; pure.

Executions without a GPU take one of a runner's slots, those with GPUs that many of its devices.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from core.model import Runner
from web.store.executions import Waiting
from web.store.runners import NO_LOAD, Load


@dataclass
class Room:
    """What a runner has left."""

    runner: Runner
    slots: int
    devices: int

    def could(self, execution: Waiting) -> bool:
        """It serves the environment and the project and, with nothing on it, would have room."""
        enough = device_count(self.runner) >= execution.gpus if execution.gpus else self.runner.slots > 0
        serves = execution.environment in self.runner.environments and self.runner.takes(execution.project)
        return enough and serves

    def fits(self, execution: Waiting) -> bool:
        return self.could(execution) and (self.devices >= execution.gpus if execution.gpus else self.slots > 0)

    def take(self, execution: Waiting) -> None:
        if execution.gpus:
            self.devices -= execution.gpus
        else:
            self.slots -= 1


def room(runner: Runner, load: Load = NO_LOAD) -> Room:
    return Room(runner, runner.slots - load.slots, device_count(runner) - load.devices)


def device_count(runner: Runner) -> int:
    """How many GPUs a runner says it has."""
    gpus = runner.info.get("gpus")
    return len(gpus) if isinstance(gpus, list) else 0


def place(rooms: Sequence[Room], waiting: Iterable[Waiting]) -> Iterator[tuple[Waiting, Runner]]:
    """Give each execution, in order, the runner with the most room among those where it fits.

    One that needs more GPUs than are free holds back those of the runner that is nearest to having them: else
    executions with fewer GPUs would go before it for ever.
    """
    for execution in waiting:
        left = "devices" if execution.gpus else "slots"
        candidates = [room for room in rooms if room.could(execution)]
        best = max(candidates, key=lambda room: (getattr(room, left), -room.runner.id), default=None)
        if best is None:
            continue
        if best.fits(execution):
            best.take(execution)
            yield execution, best.runner
        elif execution.gpus:
            best.devices = 0
