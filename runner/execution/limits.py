"""Limits of one execution: the tighter ones of the runner's and the step's; no I/O."""

from __future__ import annotations

from dataclasses import dataclass

from core.config import RunnerConfig
from core.wire import ExecutionSpec, choose_stricter_limit
from runner.execution.step_controls import Controls


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Memory in bytes, CPU cores, number of processes and threads, times in seconds; 0 means no limit."""

    memory: int
    cpus: float
    pids: int
    time_s: float
    no_output_s: float


def compute_limits(settings: RunnerConfig, spec: ExecutionSpec, controls: Controls, machine_memory: int) -> Limits:
    return Limits(
        memory=choose_stricter_limit(settings.memory.bytes_on(machine_memory), spec.memory),
        cpus=choose_stricter_limit(settings.cpus, choose_stricter_limit(spec.cpus, controls.cpus)),
        pids=settings.pids,
        time_s=spec.time_limit_s or 0.0,
        no_output_s=spec.no_output_limit_s or 0.0,
    )
