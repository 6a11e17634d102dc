"""Shared by the benchmarks: a scratch server and the report of ours, floor and ratio."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import psutil

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from instance import Checkout, Instance, running, wait_for

__all__ = [
    "IMAGE",
    "NETWORK",
    "Checkout",
    "Instance",
    "Promise",
    "at_most",
    "at_most_more",
    "processor_seconds",
    "report",
    "scratch",
    "spent_by_process",
    "times",
    "wait_for",
]

IMAGE = "pushmill-quickstart"
NETWORK = "pushmill"
DOCKER = ("dockerd", "containerd")


@contextmanager
def scratch(config: str = "") -> Iterator[tuple[Instance, Checkout]]:
    """Start a fresh server with a working copy; both are removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="pushmill-bench-"))
    try:
        with running(folder / "data", config) as instance:
            yield instance, Checkout(folder / "checkout")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def processor_seconds(root: int) -> float:
    """Return the processor time that a process and its children have used so far."""
    process = psutil.Process(root)
    times = [child.cpu_times() for child in [process, *process.children(recursive=True)]]
    return sum(spent.user + spent.system for spent in times)


def spent_by_process(root: int) -> Counter[str]:
    """Return the processor time so far of `pushmill web`, `worker`, `runner` with its slots, redis and Docker.

    Includes the children that have ended, such as git.
    """
    spent = Counter[str]()
    daemons = [process for process in psutil.process_iter(["name"]) if process.info["name"] in DOCKER]
    for process in [*psutil.Process(root).children(recursive=True), *daemons]:
        with suppress(psutil.Error):
            name = process.name().removeprefix("pushmill ")
            spent["docker" if name in DOCKER else name] += sum(process.cpu_times()[:4])
    return spent


@dataclass(frozen=True)
class Promise:
    """What ours, in the unit of the report, must be in comparison with the floor."""

    text: str
    kept: Callable[[float, float], bool]


def times(most: float) -> Promise:
    return Promise(f"at most {most:g} times the floor", lambda ours, floor: ours <= most * floor)


def at_most(most: float, unit: str) -> Promise:
    return Promise(f"at most {most:g} {unit}", lambda ours, _: ours <= most)


def at_most_more(most: float, unit: str) -> Promise:
    return Promise(f"at most {most:g} {unit} more than the floor", lambda ours, floor: ours - floor <= most)


def report(
    what: str,
    ours: Sequence[float],
    floors: Sequence[float],
    *,
    unit: str,
    promise: Promise,
    spent: Mapping[str, float] = MappingProxyType({}),
) -> None:
    """Print the medians of both, with the spread, their ratio, and whether the promise is kept; in `unit`.

    `spent` are processor seconds by process. Where `benchmarks/all.py` asks for it, the result is also stored as JSON.
    """
    mine, floor = statistics.median(ours), statistics.median(floors)
    kept = promise.kept(mine, floor)
    print(what)
    for name, values in (("ours", ours), ("floor", floors)):
        spread = f"(n={len(values)}; {min(values):.4g}-{max(values):.4g})"
        print(f"  {name:<6} {statistics.median(values):10.4g} {unit:<4} {spread}")
    print(f"  ratio  {mine / floor:10.2f}      (promise: {promise.text}) {'kept' if kept else 'BROKEN'}")
    if spent:
        print(f"  processor seconds: {', '.join(f'{name} {seconds:.4g}' for name, seconds in spent.items())}")
    sys.stdout.flush()
    if results := os.environ.get("PUSHMILL_BENCH_RESULTS"):
        found = {"what": what, "unit": unit, "ours": mine, "floor": floor, "promise": promise.text, "kept": kept}
        with open(results, "a", encoding="utf-8") as file:
            file.write(json.dumps(found | {"processor_seconds": dict(spent)}) + "\n")
