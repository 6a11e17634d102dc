"""From `created` to a runner's queue: quota, then placement. The database holds the queue; Redis only delivers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlite_utils import Database

from core import clock
from core.model import Execution, Runner
from core.states import State
from web.services import lifecycle, placement, quota
from web.services.queues import Queues
from web.store import executions, runners
from web.store.db import transaction

ONLINE_S = 60.0  # a runner silent for longer is shown as lost
TAKES_S = 13.0  # one silent for so long gets nothing new: it was last recorded up to 10 s before it fell silent
CLAIM_S = 2.5  # a placed execution that nobody claimed is handed over again after this


def dispatch(db: Database, queues: Queues) -> None:
    """Queue what quota allows and place what fits, in order. Cheap and safe to call at any time from any process."""
    _queue_what_quota_allows(db)
    for execution, runner in _place(db):
        queues.hand_over(runner.name, execution.uuid, execution.attempt)


def hand_over_again(db: Database, queues: Queues) -> None:
    """Placed executions that nobody claimed: their job was lost with Redis, or their runner takes nothing any more."""
    everyone = {runner.id: runner for runner in runners.listing(db)}
    late = clock.text(datetime.now(UTC) - timedelta(seconds=CLAIM_S))
    for execution in executions.in_states(db, State.QUEUED):
        if execution.runner_id is None or (execution.placed_at or "") > late:
            continue
        runner = everyone.get(execution.runner_id)
        if runner is not None and takes_more(runner):
            if executions.update(db, execution, placed_at=clock.now()):
                queues.hand_over(runner.name, execution.uuid, execution.attempt)
        else:
            executions.update(db, execution, runner_id=None, placed_at=None)


def is_online(runner: Runner) -> bool:
    return _silence_s(runner) < ONLINE_S


def takes_more(runner: Runner) -> bool:
    return _silence_s(runner) < TAKES_S and not runner.draining


def _silence_s(runner: Runner) -> float:
    return clock.seconds_between(runner.last_seen_at, clock.now()) if runner.last_seen_at else float("inf")


def _queue_what_quota_allows(db: Database) -> None:
    if not executions.waiting(db, State.CREATED):
        return
    with transaction(db):
        limits = quota.of(db)
        for waiting in executions.waiting(db, State.CREATED):
            if not limits.hindrance(waiting.project_id, waiting.environment):
                limits.take(waiting.project_id, waiting.environment, State.QUEUED)
                lifecycle.queue(db, executions.get(db, waiting.id))


def _place(db: Database) -> list[tuple[Execution, Runner]]:
    if not executions.waiting(db, State.QUEUED):
        return []
    with transaction(db):
        load = runners.load(db)
        rooms = [placement.room(r, load.get(r.id, runners.NO_LOAD)) for r in runners.listing(db) if takes_more(r)]
        chosen = list(placement.place(rooms, executions.waiting(db, State.QUEUED)))
        return [(executions.put_on(db, waiting.id, runner.id), runner) for waiting, runner in chosen]
