"""Run executions again: several at once, and those that were lost with their runner."""

from __future__ import annotations

from collections.abc import Sequence

from core.errors import Conflict, InvalidInput
from core.model import Origin, Project, TargetKind, User
from core.states import FINAL
from web.services import launch
from web.services.context import Context
from web.store import executions, launch_keys, logs, users
from web.store.db import transaction
from web.store.selection import Selection

MOST = 50  # most executions that are re-run at once
MAX_RESTARTS = 10  # most restarts in a row: a machine that keeps dying must not restart one execution forever


def run_again(context: Context, project: Project, counters: Sequence[int], person: User, key: str) -> None:
    """Run these executions of a project again, all or none; once for each key.

    Raises InvalidInput for none or too many, Conflict if one has not finished.
    """
    db = context.db
    if not 0 < len(counters) <= MOST:
        raise InvalidInput(f"choose 1 to {MOST} executions to run again; {len(counters)} are chosen")
    with transaction(db):
        found, _ = executions.search(db, Selection(projects=[project.id], counters=counters, order="counter"))
        if running := [f"#{execution.counter}" for execution in found if execution.state not in FINAL]:
            verb = "has" if len(running) == 1 else "have"
            raise Conflict(f"{', '.join(running)} {verb} not finished: stop it first, or choose others")
        for execution in found:
            own = f"{key[:64]}-{execution.counter}"
            if launch_keys.find(db, project.id, person.id, own) is None:
                made = launch.rerun(context, execution, person, "Re-run of")
                launch_keys.add(db, project.id, person.id, own, TargetKind.STEP, made.id)


def restart_lost(context: Context) -> int:
    """Restart executions that were lost with their runner and have `autorestart`; return how many there were.

    Each is restarted once, and a chain of restarts ends after MAX_RESTARTS.
    """
    db = context.db
    lost = executions.list_to_restart(db)
    for execution in lost:
        with transaction(db):
            if executions.list_reruns(db, execution.id):
                continue  # a user re-ran it in the meantime
            creator = users.get(db, execution.creator_id)
            restarted = launch.rerun(context, execution, creator, "Restarts", Origin.RESTART)
            if executions.count_retries(db, restarted.id) >= MAX_RESTARTS:
                executions.update(db, restarted, autorestart=False)
                logs.log_status(db, context.config.logs_dir, restarted, f"Restart {MAX_RESTARTS}, the last one")
    return len(lost)
