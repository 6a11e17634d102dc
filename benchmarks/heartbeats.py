"""The cost of 200 idle runners: processor time of the web server while each sends its heartbeat when due.

Floor: the same number of requests to a view that only executes one `SELECT 1`. Promise: under 3 % of a core, and
at most 1.2 times the floor.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import urllib3
from bench import Promise, processor_seconds, report, scratch

from core.wire import RunnerReport
from runner.server_client import Reporter
from web.services.runners import heartbeats
from web.store import runners
from web.store.db import connect, transaction

RUNNERS = 200
ROUNDS, SECONDS = 5, 10.0
MOST, TIMES = 3.0, 1.2
PROMISE = Promise(
    f"under {MOST:g} % of a core and at most {TIMES:g} times the floor",
    lambda ours, floor: ours < MOST and ours <= TIMES * floor,
)
INFO = {
    "version": "0.1.0", "docker_version": "20.10.24", "driver_version": "550.54", "cpu_count": 64,
    "memory_bytes": 256 * 2**30, "problems": [],
    "gpus": [{"uuid": f"GPU-{n}", "name": "NVIDIA A100-SXM4-80GB", "memory_bytes": 80 * 2**30} for n in range(8)],
}  # fmt: skip


def cost(root: int, beats: list[Callable[[], object]], interval_s: float) -> float:
    """Return the percentage of a core used while each of `beats` is called once per interval, evenly spread."""
    began, spent = time.monotonic(), processor_seconds(root)
    number = 0
    while (now := time.monotonic()) - began < SECONDS:
        due = began + number * interval_s / len(beats)
        if now < due:
            time.sleep(due - now)
        beats[number % len(beats)]()
        number += 1
    return 100 * (processor_seconds(root) - spent) / (time.monotonic() - began)


def main() -> None:
    with scratch("[runner]\nslots = 1\n") as (instance, _):
        db = connect(instance.data / "pushmill.db")
        with transaction(db):
            for number in range(RUNNERS):
                runners.add(db, f"bench{number}", f"token{number}", ["default"])
        db.close()
        reporters = [Reporter(instance.url, f"token{number}") for number in range(RUNNERS)]

        def beat(reporter: Reporter) -> None:
            load = {"load": time.monotonic() % 7, "free_disk_bytes": int(time.monotonic() * 1e6)}
            reporter.report(RunnerReport(slots=2, info=INFO | load, clock_us=time.time_ns() // 1000))

        pools = [urllib3.PoolManager() for _ in range(RUNNERS)]
        root = int((instance.data / "run" / "web.pid").read_text().split()[0])
        for reporter in reporters:
            beat(reporter)
        db = connect(instance.data / "pushmill.db")
        first = runners.by_name(db, "bench0")
        assert first is not None
        interval = heartbeats.runner_orders(db, first).heartbeat_s
        db.close()
        beats = [partial(beat, reporter) for reporter in reporters]
        requests = [partial(pool.request, "GET", f"{instance.url}/healthz") for pool in pools]
        ours, floors = list[float](), list[float]()
        for _ in range(ROUNDS):  # in turns, since other load of the machine changes the cost of both
            idle = cost(root, [lambda: None], interval)
            ours.append(cost(root, beats, interval) - idle)
            floors.append(cost(root, requests, interval) - idle)
    what = f"{RUNNERS} idle runners, a heartbeat each {interval:g} s"
    report(what, ours, floors, unit="% of a core", promise=PROMISE)


if __name__ == "__main__":
    main()
