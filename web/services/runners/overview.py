"""Data about runners for the page and the command line. Values that runners report about themselves are not trusted."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from core.model import Runner
from core.units import format_duration, format_size
from web.services.presentation import formats
from web.services.scheduling.dispatch import is_online
from web.store import executions, projects, runners
from web.store.db import Database
from web.store.runners import NO_LOAD, Load

NEVER, LOST, DRAINING, ONLINE = "never connected", "offline", "draining", "online"
CLOCK_OFF_S = 2.0  # worth a warning; smaller differences come from the latency of the report
MOST = 32  # maximum of GPUs and of problems that are shown of one runner
CHARACTERS = 200


@dataclass(frozen=True, kw_only=True)
class GpuView:
    name: str
    memory_bytes: int
    uuid: str


@dataclass(frozen=True, kw_only=True)
class Running:
    """An execution that a runner holds."""

    project: str
    counter: int
    step: str

    @property
    def name(self) -> str:
        return f"{self.project} #{self.counter}"


@dataclass(frozen=True, kw_only=True)
class RunnerView:
    """A runner. Zeros and empty strings mean unknown."""

    id: int
    name: str
    state: str
    draining: bool
    environments: tuple[str, ...]
    projects: tuple[str, ...]
    slots: int
    most_slots: int
    slots_used: int
    gpus: tuple[GpuView, ...]
    gpus_used: int
    last_seen_at: str | None
    version: str
    docker_version: str
    driver_version: str
    cpu_count: int
    load: float
    memory_bytes: int
    free_disk_bytes: int
    clock_off_s: float
    problems: tuple[str, ...]
    running: tuple[Running, ...]


def compute_runner_state(runner: Runner, now: datetime) -> str:
    """Return NEVER, LOST, DRAINING or ONLINE."""
    if runner.last_seen_at is None:
        return NEVER
    if not is_online(runner, now):
        return LOST
    return DRAINING if runner.draining else ONLINE


def list_runner_views(db: Database, visible: Collection[int] | None = None) -> list[RunnerView]:
    """List all runners by name; their executions only of visible projects, or of all with None."""
    load, now = runners.map_load(db), datetime.now(UTC)
    found = runners.list_runners(db)
    held = list_running_by_runner(db, found, visible)
    return [_view(runner, load.get(runner.id, NO_LOAD), held[runner.id], now) for runner in found]


def list_running_by_runner(
    db: Database, found: Sequence[Runner], visible: Collection[int] | None = None
) -> dict[int, list[Running]]:
    """List by runner id the executions of visible projects whose lease it holds."""
    names = {project.id: project.name for project in projects.list_projects(db, visible)}
    result: dict[int, list[Running]] = {runner.id: [] for runner in found}
    for held in executions.list_started_on(db, *result):
        if project := names.get(held.project_id):
            result[held.runner_id or 0].append(Running(project=project, counter=held.counter, step=held.step))
    return result


def list_runner_facts(view: RunnerView) -> list[tuple[str, str]]:
    """List (label, text) of the known facts about the runner's machine."""
    versions = [("pushmill", view.version), ("Docker", view.docker_version), ("driver", view.driver_version)]
    load = f"{view.load:.1f}" + (f" of {view.cpu_count}" if view.cpu_count else "")
    found = (
        ("versions", ", ".join(f"{what} {number}" for what, number in versions if number)),
        ("gpus", format_gpus(view)),
        ("projects", ", ".join(view.projects)),
        ("load", load if view.version else ""),
        ("memory", format_size(view.memory_bytes) if view.memory_bytes else ""),
        ("free disk", format_size(view.free_disk_bytes) if view.free_disk_bytes else ""),
        ("clock", format_clock_offset(view)),
        *(("problem", problem) for problem in view.problems),
    )
    return [(label, text) for label, text in found if text]


def format_gpus(view: RunnerView) -> str:
    """Describe the GPUs, such as "8 x NVIDIA A100 (80 GiB)"."""
    kinds: dict[str, int] = {}
    for gpu in view.gpus:
        kind = f"{gpu.name} ({format_size(gpu.memory_bytes)})" if gpu.memory_bytes else gpu.name
        kinds[kind] = kinds.get(kind, 0) + 1
    return ", ".join(f"{count} x {kind}" for kind, count in kinds.items())


def format_capacity(view: RunnerView) -> str:
    """Describe the usage, such as "1 of 4 slots and 2 of 8 GPUs in use"."""
    counts = ((view.slots_used, view.slots, "slot"), (view.gpus_used, len(view.gpus), "GPU"))
    parts = [f"{used} of {there} {what}{'' if there == 1 else 's'}" for used, there, what in counts if there]
    return f"{' and '.join(parts)} in use" if parts else ""


def format_clock_offset(view: RunnerView) -> str:
    """Describe by how much the clock is off; "" if it is right."""
    if abs(view.clock_off_s) < CLOCK_OFF_S:
        return ""
    return f"{format_duration(abs(view.clock_off_s))} {'ahead of' if view.clock_off_s > 0 else 'behind'} the server"


def _view(runner: Runner, load: Load, held: Sequence[Running], now: datetime) -> RunnerView:
    info = runner.info
    return RunnerView(
        id=runner.id,
        name=runner.name,
        state=compute_runner_state(runner, now),
        draining=runner.draining,
        environments=runner.environments,
        projects=runner.projects,
        slots=runner.slots,
        most_slots=runner.most_slots,
        slots_used=load.slots,
        gpus=tuple(_gpu(item) for item in _list(info.get("gpus")) if isinstance(item, dict)),
        gpus_used=load.devices,
        last_seen_at=runner.last_seen_at,
        version=_text(info.get("version")),
        docker_version=_text(info.get("docker_version")),
        driver_version=_text(info.get("driver_version")),
        cpu_count=int(_number(info.get("cpu_count"))),
        load=_number(info.get("load")),
        memory_bytes=int(_number(info.get("memory_bytes"))),
        free_disk_bytes=int(_number(info.get("free_disk_bytes"))),
        clock_off_s=_number(info.get("clock_off_s")),
        problems=(*_too_many_slots(runner), *(_text(item) for item in _list(info.get("problems")))),
        running=tuple(held),
    )


def _too_many_slots(runner: Runner) -> Iterator[str]:
    reported = int(_number(runner.info.get("reported_slots")))
    if reported > runner.most_slots:
        yield (
            f"Offers {reported} slots, of which {runner.most_slots} are allowed: "
            f"`pushmill runner limit {runner.name} --slots {reported}` allows all"
        )


def _gpu(item: dict[str, Any]) -> GpuView:
    memory = int(_number(item.get("memory_bytes")))
    return GpuView(name=_text(item.get("name")) or "GPU", memory_bytes=memory, uuid=_text(item.get("uuid")))


def _text(value: Any) -> str:
    return formats.to_one_line(value[:CHARACTERS]) if isinstance(value, str) else ""


def _number(value: Any) -> float:
    """Return a number that a page can show, 0 for anything else."""
    return float(value) if type(value) in (int, float) and -1e18 < value < 1e18 else 0.0


def _list(value: Any) -> list[Any]:
    return value[:MOST] if isinstance(value, list) else []
