"""Resource usage of a running container: CPU, memory and GPUs, sampled in a thread and sent to the server.

A sample every 10 s reads Docker's statistics and, for GPUs, the output of a separate process of
`runner.containers.nvml`; each takes 5 ms of CPU time. Samples are kept in memory while the server is unavailable.
"""

from __future__ import annotations

import json
import logging
import select
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.errors import PushmillError
from runner.clock import ServerClock
from runner.containers.engine import Engine
from runner.server_client import Reporter, Unavailable

log = logging.getLogger(__name__)

SETTLED_S = 0.5  # before the first sample, which would slow down the start
FIRST_S = 2.0
INTERVAL_S = 10.0
BATCH = 500  # samples per request; the server accepts no more
KEPT = 20_000  # samples while the server is unreachable: more than a day with two series
METER_S = 6.0  # runner.containers.nvml answers within 5 s
METER = [sys.executable, "-P", "-m", "runner.containers.nvml", "usage"]

Sample = tuple[int, str, float]  # microseconds, series, value


@dataclass(frozen=True)
class Reading:
    """The CPU time of a container so far, and when it was read (`time.monotonic()`); both in seconds."""

    at: float
    cpu_s: float


class Sampler:
    """Samples one container until closed. A process that adopts a container starts its own sampler."""

    def __init__(
        self, engine: Engine, reporter: Reporter, clock: ServerClock, execution: str, attempt: int, container_id: str
    ) -> None:
        self._engine, self._reporter, self._clock = engine, reporter, clock
        self._execution, self._attempt, self._container_id = execution, attempt, container_id
        self._samples: deque[Sample] = deque(maxlen=KEPT)
        self._last: Reading | None = None
        self._meter: Meter | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="usage", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Stop sampling without waiting: a last sample that a slow server or driver delays may be lost."""
        self._closed.set()

    def _run(self) -> None:
        wait = SETTLED_S
        while not self._closed.wait(wait):
            wait = INTERVAL_S if self._last else FIRST_S
            try:
                self._samples += self._sample()
                self._send()
            except PushmillError as error:  # the server or Docker is unreachable, or the lease is lost
                log.debug("usage of execution %s: %s", self._execution, error)
        if self._meter is not None:
            self._meter.close()

    def _sample(self) -> list[Sample]:
        if self._meter is None:
            self._meter = Meter(self._engine.gpus.of(self._container_id))
        stats, at, time_us = self._engine.stats(self._container_id), time.monotonic(), self._clock.us(time.time())
        before, self._last = self._last, extract_cpu_reading(stats, at)
        values = [] if before is None or self._last is None else [("cpu", compute_busy_cores(before, self._last))]
        if before is not None:  # the first sample only starts the measurement of CPU time
            values += [("memory", value) for value in extract_memory(stats)]
            values += self._meter.read()
        return [(time_us, series, value) for series, value in values]

    def _send(self) -> None:
        while self._samples:
            batch = [self._samples[index] for index in range(min(BATCH, len(self._samples)))]
            try:
                self._reporter.usage(self._execution, self._attempt, batch)
            except Unavailable:
                return
            for _ in batch:
                self._samples.popleft()


def extract_cpu_reading(stats: Mapping[str, Any], at: float) -> Reading | None:
    """Extract the CPU time from Docker's statistics; None if the container has ended."""
    used = stats.get("cpu_stats", {}).get("cpu_usage", {}).get("total_usage")
    return Reading(at, used / 1e9) if used else None


def compute_busy_cores(before: Reading, now: Reading) -> float:
    """Average number of busy CPU cores between two readings."""
    return max(0.0, now.cpu_s - before.cpu_s) / max(0.001, now.at - before.at)


def extract_memory(stats: Mapping[str, Any]) -> Iterator[int]:
    """Yield the memory in use without reclaimable cache, in bytes, as `docker stats` counts it.

    Yields nothing if the container has ended.
    """
    found = stats.get("memory_stats", {})
    if used := found.get("usage"):
        details = found.get("stats", {})
        yield max(0, used - details.get("total_inactive_file", details.get("inactive_file", 0)))  # cgroup 1, cgroup 2


class Meter:
    """Reads the usage of GPUs through a child process, so that a hanging driver costs only GPU samples."""

    def __init__(self, uuids: Sequence[str]) -> None:
        self._uuids = uuids
        self._child: subprocess.Popen[bytes] | None = None
        self._given_up = not uuids

    def read(self) -> list[tuple[str, float]]:
        """Return `gpu:N` (percent) and `gpu_memory:N` (bytes) of each device that answers."""
        if self._given_up:
            return []
        if self._child is None:
            self._child = subprocess.Popen([*METER, *self._uuids], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            answer = _ask(self._child)
        except (OSError, ValueError) as error:
            log.warning(
                "the NVIDIA driver does not answer (%s); GPU usage of this execution is no longer sampled", error
            )
            self._given_up = True
            self.close()
            return []
        found = [(index, used) for index, used in enumerate(answer) if used is not None]
        return [
            value
            for index, (percent, used) in found
            for value in ((f"gpu:{index}", float(percent)), (f"gpu_memory:{index}", float(used)))
        ]

    def close(self) -> None:
        """Kill the child. If it hangs in the driver and does not exit within a second, it is left behind."""
        if self._child is None:
            return
        self._child.kill()
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._child.wait(1)
        except subprocess.TimeoutExpired:
            log.warning("process %d hangs in the NVIDIA driver", self._child.pid)
        self._child = None


def _ask(child: subprocess.Popen[bytes]) -> Any:
    """Request and parse the child's next line. Raises OSError, or ValueError for a line that is not JSON."""
    if child.stdin is None or child.stdout is None:
        raise OSError("it has no pipes")
    child.stdin.write(b"\n")
    child.stdin.flush()
    answer = select.poll()  # unlike select() it takes descriptors above 1023
    answer.register(child.stdout, select.POLLIN)
    if not answer.poll(1000 * METER_S):
        raise TimeoutError(f"nothing for {METER_S:g} s")
    if not (line := child.stdout.readline()):
        raise OSError(f"its process has exited with {child.poll()}")
    return json.loads(line)
