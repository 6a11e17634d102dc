"""From `created` to a runner's queue: quota, then placement. The database holds the queue; Redis only delivers."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from sqlite_utils import Database

from core import clock
from core.errors import Conflict
from core.model import Execution, Runner
from core.states import State
from web.services import lifecycle
from web.services.queues import Queues
from web.store import executions, runners
from web.store.db import execute, transaction

DEFAULT_ENVIRONMENT = "default"
ONLINE_S = 60.0  # a runner silent for longer gets nothing new
CLAIM_S = 5.0  # a placed execution that nobody claimed is handed over again after this


def dispatch(db: Database, queues: Queues) -> None:
    """Queue what quota allows and place what fits, oldest first. Cheap and safe to call at any time from any process."""
    for execution in executions.in_states(db, State.CREATED):
        try:
            lifecycle.queue(db, execution)
        except Conflict:
            continue  # stopped, or another process was faster
    for execution, runner in _place(db):
        queues.hand_over(runner.name, execution.uuid, execution.attempt)


def hand_over_again(db: Database, queues: Queues) -> None:
    """Placed executions that nobody claimed: their job was lost with Redis, or their runner is gone."""
    everyone = {runner.id: runner for runner in runners.listing(db)}
    late = clock.text(datetime.now(UTC) - timedelta(seconds=CLAIM_S))
    for execution in executions.in_states(db, State.QUEUED):
        if execution.runner_id is None or (execution.placed_at or "") > late:
            continue
        runner = everyone.get(execution.runner_id)
        if runner is not None and is_online(runner):
            if executions.update(db, execution, placed_at=clock.now()):
                queues.hand_over(runner.name, execution.uuid, execution.attempt)
        else:
            executions.update(db, execution, runner_id=None, placed_at=None)


def environment_of(db: Database, wanted: str | None) -> str:
    """The environment an execution gets: the one it wants if a runner serves it, else the default."""
    served = {name for runner in runners.listing(db) for name in runner.environments}
    return wanted if wanted in served and wanted is not None else DEFAULT_ENVIRONMENT


def why_waiting(db: Database, execution: Execution) -> str:
    """One sentence on what a created or queued execution waits for; empty for others."""
    if execution.state is State.CREATED:
        return "Waiting for the server to queue it"
    if execution.state is not State.QUEUED:
        return ""
    serving = [r for r in runners.listing(db) if execution.environment in r.environments]
    if not serving:
        return f"No runner serves the environment {execution.environment}"
    if not any(is_online(runner) for runner in serving):
        return f"No runner of environment {execution.environment} is online"
    if execution.runner_id is not None:
        return "Handed to its runner"
    return f"Every slot of environment {execution.environment} is taken"


def is_online(runner: Runner) -> bool:
    if runner.last_seen_at is None:
        return False
    return (datetime.now(UTC) - clock.parse(runner.last_seen_at)).total_seconds() < ONLINE_S


def _place(db: Database) -> list[tuple[Execution, Runner]]:
    placed: list[tuple[Execution, Runner]] = []
    with transaction(db):
        waiting = [e for e in executions.in_states(db, State.QUEUED) if e.runner_id is None]
        if not waiting:
            return placed
        load = runners.load(db)
        online = [runner for runner in runners.listing(db) if is_online(runner)]
        for execution in waiting:
            runner = _least_loaded(online, load, execution.environment)
            if runner is None:
                continue
            sql = "UPDATE execution SET runner_id = ?, placed_at = ?, attempt = attempt + 1 WHERE id = ?"
            execute(db, sql, (runner.id, clock.now(), execution.id))
            load[runner.id] = load.get(runner.id, 0) + 1
            placed.append((executions.get(db, execution.id), runner))
    return placed


def _least_loaded(online: Iterable[Runner], load: dict[int, int], environment: str) -> Runner | None:
    """The runner with the most free slots among those that serve the environment and have one."""
    fitting = [r for r in online if environment in r.environments and load.get(r.id, 0) < r.slots]
    return max(fitting, key=lambda r: (r.slots - load.get(r.id, 0), -r.id), default=None)
