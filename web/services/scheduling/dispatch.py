"""Move executions from `created` to a runner's queue: quota, then placement.

The database holds the queue; Redis only delivers. Quota and placement are one transaction each; Redis gets the job
after the second.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from core import clock
from core.model import Execution, Runner
from core.states import State
from web.services import disk
from web.services.context import Context
from web.services.executions import lifecycle
from web.services.scheduling import placement, quota
from web.store import executions, runners
from web.store.db import Database, transaction

if TYPE_CHECKING:
    from web.services.scheduling.queues import Queues  # which imports rq

ONLINE_S = 60.0  # a runner that is silent for longer gets no new executions
CLAIM_S = 2.5  # a placed but unclaimed execution is handed over again after this
PATIENCE_S = 8.0  # and placed elsewhere after this: its runner is gone, though it was seen recently


def dispatch(context: Context, queues: Queues) -> list[str]:
    """Queue executions that the quota allows and place those that fit, in order; return the UUIDs of placed ones.

    Cheap and safe to call at any time from any process. Does nothing while the server is short of free disk space.
    """
    if disk.explain_shortage(context.config):
        return []
    _queue_what_quota_allows(context.db)
    placed = _place(context.db)
    for execution, runner in placed:
        queues.hand_over(runner.name, execution.uuid, execution.attempt)
    return [execution.uuid for execution, _ in placed]


def hand_over_again(db: Database, queues: Queues) -> None:
    """Hand over placed executions that were not claimed, or unplace them if their runner no longer takes executions.

    Their job may have been lost with Redis. A runner that left one unclaimed for PATIENCE_S counts as offline until
    its next report.
    """
    all_runners = {runner.id: runner for runner in runners.list_runners(db)}
    for execution in executions.list_in_states(db, State.QUEUED):
        if execution.runner_id is None:
            continue
        runner = all_runners.get(execution.runner_id)
        waited_s = clock.count_seconds_between(execution.placed_at or execution.created_at, clock.now())
        if runner is not None and takes_more(runner) and waited_s < PATIENCE_S:
            if waited_s >= CLAIM_S:
                queues.hand_over(runner.name, execution.uuid, execution.attempt)
        elif executions.update(db, execution, runner_id=None, placed_at=None) and waited_s >= PATIENCE_S:
            runners.presume_silent(db, execution.runner_id, ONLINE_S)


def is_online(runner: Runner, now: datetime | None = None) -> bool:
    if runner.last_seen_at is None:
        return False
    return ((now or datetime.now(UTC)) - clock.parse(runner.last_seen_at)).total_seconds() < ONLINE_S


def takes_more(runner: Runner) -> bool:
    return is_online(runner) and not runner.draining


def _queue_what_quota_allows(db: Database) -> None:
    if not executions.list_waiting(db, State.CREATED):
        return
    with transaction(db):
        limits = quota.load_quota(db)
        for waiting in executions.list_waiting(db, State.CREATED):
            if not limits.limit_reason(waiting.project_id, waiting.environment):
                limits.take(waiting.project_id, waiting.environment, State.QUEUED)
                lifecycle.queue(db, executions.get(db, waiting.id))


def _place(db: Database) -> list[tuple[Execution, Runner]]:
    if not executions.list_waiting(db, State.QUEUED):
        return []
    with transaction(db):
        load = runners.map_load(db)
        capacities = [
            placement.compute_capacity(r, load.get(r.id, runners.NO_LOAD))
            for r in runners.list_runners(db)
            if takes_more(r)
        ]
        chosen = list(placement.place(capacities, executions.list_waiting(db, State.QUEUED)))
        return [(executions.place(db, waiting.id, runner.id), runner) for waiting, runner in chosen]
