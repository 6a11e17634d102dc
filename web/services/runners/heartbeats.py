"""Reports from runners about themselves, and the orders that answer them.

Runners report every 5 s, or less often if there are many: at most 10 reports a second in total. Reports that change
nothing are written together, WRITE_S after the first of them. If the web process is killed, these are lost: their
runners count as silent for one report longer than they are.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from core import clock
from core.model import Runner
from core.wire import RunnerOrders, RunnerReport
from web.services.context import Context
from web.services.executions import lifecycle
from web.services.scheduling.dispatch import is_online
from web.store import runners
from web.store.db import Database, connect
from web.store.runners import Seen

BEATS_PER_S = 10  # maximum of all runners together: a negligible load for a server
HEARTBEAT_S, LONGEST_S = 5.0, 20.0  # intervals of few and of many runners; three of the longest fit into ONLINE_S
WRITE_S = 5.0  # time between a report that changes nothing and its write
PASSING = frozenset({"load", "free_disk_bytes", "clock_off_s"})  # figures that change with each report

logger = logging.getLogger(__name__)


def make_orders(runner: Runner, count: int) -> RunnerOrders:
    """Return the orders for one of `count` runners."""
    heartbeat_s = min(LONGEST_S, max(HEARTBEAT_S, count / BEATS_PER_S))
    return RunnerOrders(draining=runner.draining, heartbeat_s=heartbeat_s)


class Heartbeats:
    """Writes the reports of all runners: those that change something at once, the others together in a thread."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._waiting: dict[int, Seen] = {}
        self._writing = False
        self._count = 0  # of all runners, at the last write: counting them reads their whole table

    def receive(self, context: Context, runner: Runner, report: RunnerReport) -> tuple[RunnerOrders, bool]:
        """Record a runner's report, and give up executions that it has lost.

        Returns the orders for the runner, and whether an execution was lost or the runner may take more than before.
        """
        more = self.record(context.db, runner, report)
        held = runners.holds_executions(context.db, runner.id)
        lost = held and lifecycle.reconcile_runner(context, runner, report.executions)
        return make_orders(runner, self._count), more or lost

    def record(self, db: Database, runner: Runner, report: RunnerReport) -> bool:
        """Record a runner's report; return whether the runner may take more than before."""
        info, slots, now = dict(report.info), min(report.slots, runner.most_slots), datetime.now(UTC)
        info["reported_slots"] = report.slots
        if report.clock_us:
            info["clock_off_s"] = round(report.clock_us / 1e6 - now.timestamp(), 1)
        passing = {name: value for name, value in info.items() if name in PASSING}
        if not is_online(runner, now) or runner.slots != slots or {**runner.info, **passing} != info:
            runners.record_heartbeat(db, runner.id, slots, info)
            return True
        self._write_soon(Seen(runner.id, runner.last_seen_at or "", clock.now(), info))
        return False

    def _write_soon(self, seen: Seen) -> None:
        with self._lock:
            self._waiting[seen.runner_id] = seen
            if not self._writing:
                threading.Thread(target=self._write, name="heartbeats", daemon=True).start()
                self._writing = True  # afterwards: starting fails at the limit of tasks of the system or service

    def _write(self) -> None:
        """Write every WRITE_S what has arrived, until nothing has."""
        try:
            with closing(connect(self._database)) as db:
                self._count = runners.count(db)
                while waiting := self._next():
                    runners.record_seen(db, waiting)
                    self._count = runners.count(db)
        except Exception:
            logger.exception("reports of runners are not recorded; the next ones are")
            with self._lock:
                self._writing = False

    def _next(self) -> Collection[Seen]:
        time.sleep(WRITE_S)
        with self._lock:
            waiting, self._waiting = self._waiting, {}
            self._writing = bool(waiting)
        return waiting.values()
