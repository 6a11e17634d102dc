"""Claims an execution from the server, and starts an attempt in its directory."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Mapping
from pathlib import Path

from core.errors import Conflict, Denied, NotFound
from core.wire import ExecutionSpec
from runner import quarantine, sandbox
from runner.clock import ServerClock, steady
from runner.execution.conclude import discard
from runner.host import Host
from runner.server_client import Unavailable
from runner.state_dir import read_json, write_json

log = logging.getLogger(__name__)

HEARTBEAT_WAIT_S = 1.0


def start_attempt(host: Host, directory: Path, attempt: int) -> float:
    """Record the attempt in state.json, after removing files of other attempts; returns its start by `steady()`."""
    state = read_json(directory / "state.json")
    if state and state["attempt"] == attempt:
        return float(state["claimed_at"])
    sandbox.give_up(host.engine, directory)
    quarantine.remove(host.directory, directory / "spool")
    for name in ("container.json", "relay.json"):
        (directory / name).unlink(missing_ok=True)
    now = steady()
    write_json(directory / "state.json", {"attempt": attempt, "claimed_at": now})
    return now


def claim(host: Host, directory: Path, attempt: int, *, resume: bool) -> tuple[ExecutionSpec, ServerClock] | None:
    """Claim an execution and return its spec, and the clock of the server.

    Returns None if the execution does not belong to this runner; its container and directory are then removed.
    """
    try:
        if not resume:
            with contextlib.suppress(Conflict):  # may still be ours, if the response to an earlier try was lost
                return _timed(host.reporter.claim(directory.name, attempt))
        return _timed(host.reporter.claim(directory.name, attempt, resume=True))
    except (Conflict, NotFound) as refusal:
        log.info("execution %s is not ours: %s", directory.name, refusal)
        discard(host, directory)
        return None


def _timed(spec: ExecutionSpec) -> tuple[ExecutionSpec, ServerClock]:
    clock, now = ServerClock(), time.time()
    clock.note(now, now, spec.server_us)  # when it was sent is not known: there may have been several tries
    return spec, clock


def acknowledged_offsets(host: Host, spec: ExecutionSpec) -> Mapping[str, int]:
    """Return how many spool bytes of each stream the server has. Retries until the server answers."""
    while True:
        try:
            return host.reporter.heartbeat(spec.uuid, spec.attempt).acknowledged
        except (Unavailable, Denied) as error:
            log.warning("%s; trying again", error)
            time.sleep(HEARTBEAT_WAIT_S)
