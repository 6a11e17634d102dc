"""Claims an execution from the server, and starts an attempt in its directory."""

from __future__ import annotations

import contextlib
import logging
import time
from pathlib import Path

from core.errors import Conflict, Denied, NotFound
from core.wire import ExecutionSpec, LeaseOrders
from runner import quarantine, sandbox
from runner.clock import ServerClock, get_uptime
from runner.execution.conclude import discard
from runner.host import Host
from runner.server_client import Unavailable
from runner.state_dir import read_json, write_json

log = logging.getLogger(__name__)

HEARTBEAT_WAIT_S = 1.0
NO_ORDERS = LeaseOrders(stop="", lease_s=0.0, acknowledged={})

Claimed = tuple[ExecutionSpec, ServerClock, LeaseOrders]


def start_attempt(host: Host, directory: Path, attempt: int) -> float:
    """Record the attempt in state.json, after removing files of other attempts; returns its start by `get_uptime()`."""
    state = read_json(directory / "state.json")
    if state and state["attempt"] == attempt:
        return float(state["claimed_at"])
    sandbox.give_up(host.engine, directory)
    quarantine.remove(host.directory, directory / "spool")
    for name in ("container.json", "relay.json"):
        (directory / name).unlink(missing_ok=True)
    now = get_uptime()
    write_json(directory / "state.json", {"attempt": attempt, "claimed_at": now})
    return now


def claim(host: Host, directory: Path, attempt: int, *, resume: bool) -> Claimed | None:
    """Claim an execution and return its spec, the clock of the server and, if it was claimed before, its orders.

    Returns None if the execution does not belong to this runner; its container and directory are then removed.
    """
    name = directory.name
    try:
        spec = None
        if not resume:
            with contextlib.suppress(Conflict):  # may still be ours, if the response to an earlier try was lost
                spec = host.reporter.claim(name, attempt)
        spec = spec or host.reporter.claim(name, attempt, resume=True)
        clock, now = ServerClock(), time.time()
        clock.note(now, now, spec.server_us)  # when it was sent is not known: there may have been several tries
        return spec, clock, fetch_orders(host, name, attempt) if resume or attempt > 1 else NO_ORDERS
    except (Conflict, NotFound) as refusal:
        log.info("execution %s is not ours: %s", name, refusal)
        discard(host, directory)
        return None


def fetch_orders(host: Host, execution: str, attempt: int) -> LeaseOrders:
    """Send a heartbeat and return its response. Retries until the server answers. Raises Conflict and NotFound."""
    while True:
        try:
            return host.reporter.heartbeat(execution, attempt)
        except (Unavailable, Denied) as error:
            log.warning("%s; trying again", error)
            time.sleep(HEARTBEAT_WAIT_S)
