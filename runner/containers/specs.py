"""Arguments and results of the engine; plain values only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from runner.containers.mounts import HostMount


@dataclass(frozen=True, kw_only=True)
class ContainerSpec:
    """One container.

    `directory` contains config, inputs, outputs, repository and spool. `tree` is the commit, a read-only lower layer;
    without it the repository directory itself is mounted. `network` is a network's name, "none", or "container:NAME" to
    join the network namespace of that container. Zero `memory` or `cpus`
    means no limit; `cpuset` names CPU cores, "" for any. `mounts` have already been checked. `gpus` are device UUIDs.
    `etc` contains files that are mounted below /etc, unless one of `mounts` is there.
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
    etc: Path | None = None


@dataclass(frozen=True)
class Exit:
    """How a container ended. `error` is the daemon's message, usually empty."""

    code: int
    oom_killed: bool = False
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class Network:
    """The containers' network: its interface on this machine, and this machine's address on it ("" if it has none).

    Containers on an `isolated` one cannot reach each other.
    """

    name: str
    bridge: str
    gateway: str
    isolated: bool


@dataclass(frozen=True)
class FoundContainer:
    """A container of this runner, as listed by the daemon."""

    container_id: str
    execution: str
    attempt: int
