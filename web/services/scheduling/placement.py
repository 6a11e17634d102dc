"""Choose the runner of each queued execution; without I/O.

An execution without GPUs takes one slot of a runner; one with GPUs takes that many devices.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from core.model import Runner
from web.store.executions import WaitingExecution
from web.store.runners import NO_LOAD, Load


@dataclass
class Capacity:
    """Free slots and devices of a runner."""

    runner: Runner
    slots: int
    devices: int

    def could(self, execution: WaitingExecution) -> bool:
        """Return whether the runner serves the environment and project, and has the capacity when idle."""
        enough = count_devices(self.runner) >= execution.gpus if execution.gpus else self.runner.slots > 0
        serves = execution.environment in self.runner.environments and self.runner.takes(execution.project)
        return enough and serves

    def fits(self, execution: WaitingExecution) -> bool:
        return self.could(execution) and (self.devices >= execution.gpus if execution.gpus else self.slots > 0)

    def take(self, execution: WaitingExecution) -> None:
        if execution.gpus:
            self.devices -= execution.gpus
        else:
            self.slots -= 1


def compute_capacity(runner: Runner, load: Load = NO_LOAD) -> Capacity:
    return Capacity(runner, runner.slots - load.slots, count_devices(runner) - load.devices)


def count_devices(runner: Runner) -> int:
    """Return how many GPUs a runner reports."""
    gpus = runner.info.get("gpus")
    return len(gpus) if isinstance(gpus, list) else 0


def place(
    capacities: Sequence[Capacity], waiting: Iterable[WaitingExecution]
) -> Iterator[tuple[WaitingExecution, Runner]]:
    """Place each execution, in order, on the runner with the most free capacity among those where it fits.

    An execution that needs more GPUs than are free reserves those of the runner that has the most free: otherwise
    executions with fewer GPUs would overtake it forever.
    """
    for execution in waiting:
        left = "devices" if execution.gpus else "slots"
        candidates = [one for one in capacities if one.could(execution)]
        best = max(candidates, key=lambda one: (getattr(one, left), -one.runner.id), default=None)
        if best is None:
            continue
        if best.fits(execution):
            best.take(execution)
            yield execution, best.runner
        elif execution.gpus:
            best.devices = 0
