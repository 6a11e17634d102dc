"""This machine as a runner: what every execution on it shares."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from core.config import RunnerConfig
from runner.container import Engine
from runner.gpus import Gpu
from runner.reporter import Reporter


@dataclass(frozen=True, kw_only=True)
class Host:
    """`directory` is ours alone; `relay_address` is where containers reach this process, "" when they cannot."""

    runner_id: str
    directory: Path
    server_url: str
    token: str
    settings: RunnerConfig
    reporter: Reporter
    engine: Engine
    relay_address: str

    @property
    def executions(self) -> Path:
        return self.directory / "executions"

    @property
    def cache(self) -> Path:
        return self.directory / "cache"


def runtime(host: Host, gpus: Sequence[Gpu] = ()) -> dict[str, Any]:
    """The content of runtime.json for an execution that has these devices."""
    return {
        "cpu_count": os.cpu_count(),
        "memory_bytes": memory_bytes(),
        "gpus": [asdict(gpu) for gpu in gpus],
        "docker_version": host.engine.version,
        "worker": {"id": host.runner_id, "name": host.settings.name},
    }


def memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def free_disk(directory: Path) -> int:
    """Bytes that this process may still write below `directory`."""
    return shutil.disk_usage(directory).free
