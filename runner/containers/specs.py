"""What the engine is asked for, and what it answers; values alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from runner.containers.mounts import HostMount


@dataclass(frozen=True, kw_only=True)
class ContainerSpec:
    """One container. `directory` holds config, inputs, outputs, repository and spool; `tree` is the commit, read-only.

    Without `tree` the repository directory itself is mounted. `network` "none" is none at all. Zero memory or cpus means
    no limit; `cpuset` names processors, "" for any. `mounts` were allowed by whoever made them. `gpus` are the UUIDs of
    its devices.
    """

    runner: str
    execution: str
    attempt: int
    image: str
    environment: dict[str, str]
    directory: Path
    tree: Path | None
    network: str
    mounts: tuple[HostMount, ...]
    memory: int
    cpus: float
    cpuset: str
    pids: int
    shm: int
    gpus: tuple[str, ...] = ()


@dataclass(frozen=True)
class Exit:
    """How a container ended. `error` is the daemon's own word, mostly empty."""

    code: int
    oom_killed: bool = False
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class Network:
    """The containers' network: its interface on this machine, and this machine's address there, "" without one."""

    bridge: str
    gateway: str


@dataclass(frozen=True)
class Found:
    """A container of this runner that the daemon knows."""

    container_id: str
    execution: str
    attempt: int
