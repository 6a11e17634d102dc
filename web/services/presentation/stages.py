"""The stages of an execution as parts of a bar: waiting, preparing, run, upload; and how long it may still take."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median

from core import clock
from core.model import Execution
from core.states import FINAL
from core.units import format_duration
from core.wire import PREPARING
from web.store import executions
from web.store.db import Database

UNKNOWN = "prepare"  # the stages before the container, until the runner reports each of them


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A part of the bar: seconds since the creation, and the length; `row` is its row among stages of the same time.

    `since` is when it began, for a stage that is not over.
    """

    name: str
    start_s: float
    length_s: float
    since: str | None = None
    row: int | None = None


def list_stages(execution: Execution, now: datetime) -> list[Stage]:
    """Return the stages of an execution in their order. Of older releases, preparing is part of the run."""
    end_at = execution.ended_at or clock.format_moment(now)
    end, known = _since_creation(execution, end_at), execution.stages
    started = end if execution.started_at is None else _since_creation(execution, execution.started_at)
    over = execution.state in FINAL
    waits = execution.started_at is None and not over
    found = [Stage(name="waiting", start_s=0, length_s=started, since=execution.created_at if waits else None)]
    if execution.started_at is None:
        return found
    run = _since_creation(execution, known["run_at"]) if "run_at" in known else started
    if "run_at" in known:
        found += [
            Stage(name=name, start_s=started, length_s=min(known[name], run - started), row=row)
            for row, name in enumerate(PREPARING)
            if name in known
        ]
    elif not over:
        return [*found, Stage(name=UNKNOWN, start_s=started, length_s=end - started, since=execution.started_at)]
    stop = max(run, end - known.get("upload", 0))
    begun = known.get("run_at") or execution.started_at
    found.append(Stage(name="run", start_s=run, length_s=stop - run, since=None if over else begun))
    if "upload" in known:
        found.append(Stage(name="upload", start_s=stop, length_s=end - stop))
    return found


def find_usual_duration(db: Database, execution: Execution) -> float | None:
    """Return how long executions of this step usually run; None once it has ended, or without earlier ones."""
    return map_usual_durations(db, [execution]).get(execution.id)


def map_usual_durations(db: Database, found: Sequence[Execution]) -> dict[int, float]:
    """Return the same by id, for those that have not ended and have earlier ones."""
    durations = executions.map_usual_durations(db, [execution for execution in found if execution.state not in FINAL])
    return {execution_id: median(seconds) for execution_id, seconds in durations.items() if seconds}


def _since_creation(execution: Execution, moment: str) -> float:
    return max(0.0, clock.count_seconds_between(execution.created_at, moment))


def format_time_left(usual_s: float, ran_s: float) -> str:
    """Format the time that is left if it runs as long as usual."""
    left = usual_s - ran_s
    if left <= 0:
        return f"usually {format_duration(usual_s)}"
    step = 60 if left > 120 else 10
    return f"about {format_duration(math.ceil(left / step) * step)} left"
