"""Shared by the benchmarks: a scratch server and the report of ours, floor and ratio."""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from instance import Checkout, Instance, running, wait_for

__all__ = [
    "IMAGE",
    "NETWORK",
    "Checkout",
    "Instance",
    "processor_seconds",
    "report",
    "scratch",
    "spent_by_process",
    "wait_for",
]

IMAGE = "pushmill-quickstart"
NETWORK = "pushmill"


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
    """Return the processor time so far of `pushmill web`, `runner` with its slots, and so on, and of dockerd."""
    spent = Counter[str]()
    daemons = [process for process in psutil.process_iter(["name"]) if process.info["name"] == "dockerd"]
    for process in [*psutil.Process(root).children(recursive=True), *daemons]:
        with suppress(psutil.Error):
            command, times = process.cmdline(), process.cpu_times()
            name = command[command.index("web.cli.main") + 1] if "web.cli.main" in command else process.name()
            spent[name] += times.user + times.system
    return spent


def report(
    what: str,
    ours: Sequence[float],
    floors: Sequence[float],
    *,
    unit: str,
    scale: float = 1.0,
    promise: float,
) -> None:
    """Print the medians of both, with the spread, and their ratio."""

    def show(values: Sequence[float]) -> str:
        scaled = sorted(value * scale for value in values)
        return f"{statistics.median(scaled):8.1f} {unit}  (n={len(scaled)}; {scaled[0]:.1f}-{scaled[-1]:.1f})"

    ratio = statistics.median(ours) / statistics.median(floors)
    print(what)
    print(f"  ours   {show(ours)}")
    print(f"  floor  {show(floors)}")
    print(
        f"  ratio  {ratio:8.2f}  (promise: at most {promise:g}) {'kept' if ratio <= promise else 'BROKEN'}", flush=True
    )
