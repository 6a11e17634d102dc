"""Control variables: environment variables of a step that control its runner; no I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

YES = {"1", "yes", "true"}
CORES = re.compile(r"[0-9]{1,4}(\.[0-9]{1,3})?")
CORE_LIST = re.compile(r"[0-9]{1,4}([,-][0-9]{1,4})+")


@dataclass(frozen=True, kw_only=True)
class Controls:
    """`cpus` is a number of CPU cores, 0 if not set; `cpuset` lists cores, "" for any. `notes` name ignored values."""

    pull_image: bool
    refetch_inputs: bool
    cpus: float
    cpuset: str
    notes: tuple[str, ...]


def read(variables: Mapping[str, str]) -> Controls:
    """Parse the control variables. `VH_CPU_LIMIT` is a number of cores, `2`, or a list of cores, `0,2,4`."""
    limit = variables.get("VH_CPU_LIMIT", "").strip()
    clean = _is_yes(variables, "VH_CLEAN")
    notes = []
    if limit and not CORES.fullmatch(limit) and not CORE_LIST.fullmatch(limit):
        notes.append(f"VH_CPU_LIMIT is ignored: {limit[:80]!r} is neither a number of cores nor a list of them")
    if variables.get("VH_DOCKER_NETWORK"):
        notes.append("VH_DOCKER_NETWORK is ignored: the runner's configuration sets the network")
    return Controls(
        pull_image=clean or _is_yes(variables, "VH_NO_IMAGE_CACHE"),
        refetch_inputs=clean or _is_yes(variables, "VH_NO_DATA_CACHE"),
        cpus=float(limit) if CORES.fullmatch(limit) else 0.0,
        cpuset=limit if CORE_LIST.fullmatch(limit) else "",
        notes=tuple(notes),
    )


def _is_yes(variables: Mapping[str, str], name: str) -> bool:
    return variables.get(name, "").strip().lower() in YES
