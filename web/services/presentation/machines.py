"""Machines with a cell for each GPU, as warm as it is busy. Runners report their GPUs: these values are not trusted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.model import Execution
from web.services.runners import overview
from web.services.runners.overview import RunnerView
from web.store import executions, usage
from web.store.db import Database

LEVELS = 5  # levels of heat: 0 is idle, the last one is full use
MOST = 20  # machines on a page
MOST_CELLS = 256  # most GPUs whose use is read


@dataclass(frozen=True, kw_only=True)
class GpuCell:
    """A GPU. `level` is from 0 to LEVELS; `percent` is None if nothing is known; `holder` is "" if it is not shown."""

    name: str
    level: int
    percent: float | None
    holder: str
    busy: bool


@dataclass(frozen=True, kw_only=True)
class Machine:
    view: RunnerView
    cells: Sequence[GpuCell]


def list_machines(db: Database, names: Mapping[int, str]) -> list[Machine]:
    """List runners by name. Holders of GPUs are shown only for the projects in `names`, which maps ids to names."""
    views = overview.list_runner_views(db, names)[:MOST]
    holders: dict[tuple[int, str], tuple[Execution, int]] = {}
    for execution in executions.list_started_on(db, *(view.id for view in views)):
        for number, device in enumerate(execution.devices):
            holders[execution.runner_id or 0, device] = execution, number
    series = [(execution.id, f"gpu:{number}") for execution, number in holders.values()][:MOST_CELLS]
    used = usage.map_latest(db, series)
    result = []
    for view in views:
        cells = []
        for gpu in view.gpus:
            if held := holders.get((view.id, gpu.uuid)):
                execution, number = held
                cells.append(_cell(gpu.name, execution, used.get((execution.id, f"gpu:{number}")), names))
            else:
                cells.append(GpuCell(name=gpu.name, level=0, percent=None, holder="", busy=False))
        result.append(Machine(view=view, cells=cells))
    return result


def _cell(name: str, execution: Execution, percent: float | None, names: Mapping[int, str]) -> GpuCell:
    project = names.get(execution.project_id)
    level = 1 if percent is None else max(1, min(LEVELS, 1 + int(percent / 100 * (LEVELS - 1) + 0.5)))
    holder = f"{project} #{execution.counter} {execution.step}" if project else ""
    return GpuCell(name=name, level=level, percent=percent, holder=holder, busy=True)
