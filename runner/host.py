"""This machine as a runner: the context that all its executions share, its firewall and its resources."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from core.config import RunnerConfig
from core.locks import hold
from runner.containers import firewall
from runner.containers.engine import Engine
from runner.containers.gpus import Gpu
from runner.containers.specs import Network
from runner.sandbox import ReadySandbox
from runner.server_client import Reporter
from runner.state_dir import read_json, write_json


@dataclass(frozen=True, kw_only=True)
class Host:
    """Context of every execution on this machine.

    `directory` belongs to this runner alone. Containers reach this process at the gateway of `network`, if it has one.
    `ready_sandbox` is None where executions get networks of their own.
    """

    runner_id: str
    directory: Path
    server_url: str
    token: str
    settings: RunnerConfig
    reporter: Reporter
    engine: Engine
    network: Network
    ready_sandbox: ReadySandbox | None = None

    @property
    def executions(self) -> Path:
        return self.directory / "executions"

    @property
    def cache(self) -> Path:
        return self.directory / "cache"


def describe_runtime(host: Host, gpus: Sequence[Gpu] = ()) -> dict[str, Any]:
    """Return the content of runtime.json for an execution with these devices."""
    return {
        "cpu_count": os.cpu_count(),
        "memory_bytes": get_memory_bytes(),
        "gpus": [asdict(gpu) for gpu in gpus],
        "docker_version": host.engine.version,
        "worker": {"id": host.runner_id, "name": host.settings.name},
    }


def protect(directory: Path, network: Network, settings: RunnerConfig) -> str:
    """Install the firewall rules of the containers' network.

    Returns the problem as a sentence, or "", and stores it for `read_firewall_problem`.
    """
    policy = firewall.Policy(
        bridge=network.bridge,
        relay=network.gateway,
        relay_ports=settings.relay_port_range,
        host_ports=settings.host_ports,
        name_servers=firewall.list_name_servers(),
    )
    with hold(directory / "firewall.lock"):
        problem = firewall.protect(policy)
        if problem != read_firewall_problem(directory):
            write_json(directory / "firewall.json", problem)
    return problem


def read_firewall_problem(directory: Path) -> str:
    """The latest problem that `protect` found in any process of this runner, "" if there is none."""
    return str(read_json(directory / "firewall.json") or "")


def get_memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def get_free_disk(directory: Path) -> int:
    """Bytes that this process can still write below `directory`."""
    return shutil.disk_usage(directory).free
