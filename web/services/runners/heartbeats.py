"""Reports from runners about themselves, and the orders that answer them.

Runners report every 5 s, or less often if there are many: at most 10 reports a second in total. A report that changes
nothing is written every 10 s.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from core import clock
from core.model import Runner
from core.wire import RunnerOrders, RunnerReport
from web.services.scheduling.dispatch import is_online
from web.store import runners
from web.store.db import Database

BEATS_PER_S = 10  # maximum of all runners together: a negligible load for a server
HEARTBEAT_S, LONGEST_S = 5.0, 20.0  # of one runner; three of the longest fit into ONLINE_S
WRITE_S = 10.0  # between two writes for a runner that reports nothing new
PASSING = frozenset({"load", "free_disk_bytes", "clock_off_s"})  # figures that change with each report


def runner_orders(db: Database, runner: Runner) -> RunnerOrders:
    heartbeat_s = min(LONGEST_S, max(HEARTBEAT_S, runners.count(db) / BEATS_PER_S))
    return RunnerOrders(draining=runner.draining, heartbeat_s=heartbeat_s)


def record_heartbeat(db: Database, runner: Runner, report: RunnerReport) -> bool:
    """Record a runner's report; return whether the runner may take more than before."""
    info, slots = dict(report.info), min(report.slots, runner.most_slots)
    info["reported_slots"] = report.slots
    if report.clock_us:
        info["clock_off_s"] = round(report.clock_us / 1e6 - datetime.now(UTC).timestamp(), 1)
    came_back, changed = not is_online(runner), (runner.slots, _lasting(runner.info)) != (slots, _lasting(info))
    if not came_back and not changed and _seconds_since(runner.last_seen_at) < WRITE_S:
        return False
    runners.record_heartbeat(db, runner.id, slots, info)
    return came_back or changed


def _lasting(info: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in info.items() if name not in PASSING}


def _seconds_since(moment: str | None) -> float:
    return clock.seconds_between(moment, clock.now()) if moment else float("inf")
