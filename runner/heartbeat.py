"""The runner's heartbeat: reports the state of this machine and receives the server's orders."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.errors import Denied, PushmillError
from core.wire import RunnerOrders, RunnerReport
from runner.server_client import Reporter

log = logging.getLogger(__name__)


class Heartbeat:
    """Sends reports at the interval that the server sets. Logs each change once: problems with the server, draining."""

    def __init__(self, reporter: Reporter, name: str, executions: Path) -> None:
        self._reporter, self._name, self._executions = reporter, name, executions
        self._orders = RunnerOrders()
        self._due_at = 0.0
        self._trouble = ""

    def due(self) -> bool:
        return time.monotonic() >= self._due_at

    def send(self, slots: int, info: Mapping[str, Any]) -> None:
        try:
            present = self._present()  # first, so that a concurrent claim is not missing
            report = RunnerReport(slots=slots, info=dict(info), executions=present, clock_us=time.time_ns() // 1000)
            orders = self._reporter.report(report)
        except (PushmillError, OSError) as error:  # an unreadable disk must not count as an empty one
            self._failed(error)
        else:
            self._answered(orders)
        self._due_at = time.monotonic() + self._orders.heartbeat_s

    def _present(self) -> list[str]:
        try:
            return os.listdir(self._executions)
        except FileNotFoundError:
            return []

    def _failed(self, error: Exception) -> None:
        trouble = str(error)
        if isinstance(error, Denied):
            trouble = (
                f"the server refuses this runner's token: put the one that `pushmill runner rotate-token {self._name}` "
                "prints into [runner] token and start this runner again; running containers continue meanwhile"
            )
        if trouble != self._trouble:
            log.warning("%s", trouble)
        self._trouble = trouble

    def _answered(self, orders: RunnerOrders) -> None:
        if self._trouble:
            log.info("the server answers again")
        if orders.draining and not self._orders.draining:
            log.info("draining: running executions finish, and no new ones are taken")
        elif self._orders.draining and not orders.draining:
            log.info("no longer draining")
        self._trouble, self._orders = "", orders
