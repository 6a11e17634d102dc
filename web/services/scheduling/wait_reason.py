"""Why an execution does not run yet, in one sentence."""

from __future__ import annotations

from collections.abc import Sequence

from core.model import Execution, Runner
from core.states import WAITING, State
from web.services import disk
from web.services.context import Context
from web.services.scheduling import placement, quota
from web.services.scheduling.dispatch import is_online, takes_more
from web.store import executions, projects, runners
from web.store.db import Database
from web.store.executions import WaitingExecution


def wait_reason(context: Context, execution: Execution) -> str:
    """Return why an execution does not run yet; "" if it is neither created nor queued."""
    if execution.state in WAITING and execution.runner_id is None and (shortage := disk.shortage(context.config)):
        return shortage
    if execution.state is State.CREATED:
        return _why_created(context.db, execution)
    if execution.state is not State.QUEUED:
        return ""
    everyone = runners.listing(context.db)
    if execution.runner_id is not None:
        names = {runner.id: runner.name for runner in everyone}
        return f"Handed to runner {names.get(execution.runner_id, 'that was removed')}"
    serving = [runner for runner in everyone if execution.environment in runner.environments]
    project = projects.get(context.db, execution.project_id).name
    taking = [runner for runner in serving if runner.takes(project)]
    if serving and not taking:
        return f"No runner of environment {execution.environment} takes executions of project {project}"
    return _why_nowhere(execution, taking) or _why_no_room(context.db, execution, taking)


def _why_created(db: Database, execution: Execution) -> str:
    hindrance = quota.load_quota(db).hindrance(execution.project_id, execution.environment)
    if not hindrance:
        return "Waiting for the server to queue it"
    return hindrance + _behind(db, execution, State.CREATED)


def _why_nowhere(execution: Execution, serving: Sequence[Runner]) -> str:
    """Return why no runner can take the execution however long it waits, or "" if one can."""
    where = f"of environment {execution.environment}"
    if not serving:
        return f"No runner serves the environment {execution.environment}"
    online = [runner for runner in serving if is_online(runner)]
    if not online:
        return f"No runner {where} is online"
    open_ones = [runner for runner in online if takes_more(runner)]
    if not open_ones:
        return f"Every runner {where} that is online is draining"
    most = max(map(placement.device_count, open_ones))
    if execution.gpus > most:
        has = f"the most is {most}" if most else "they have none"
        return f"No runner {where} that is online has {_gpus(execution.gpus)}: {has}"
    if not execution.gpus and not any(runner.slots for runner in open_ones):
        return f"No runner {where} that is online has slots for executions without GPUs"
    return ""


def _why_no_room(db: Database, execution: Execution, serving: Sequence[Runner]) -> str:
    load = runners.load(db)
    of_each = [(runner, load.get(runner.id, runners.NO_LOAD)) for runner in serving if takes_more(runner)]
    if execution.gpus:
        total = sum(placement.device_count(runner) for runner, _ in of_each)
        free = total - sum(taken.devices for _, taken in of_each)
        sentence = (
            f"{free} of {total} GPUs of environment {execution.environment} are free and it needs {execution.gpus}"
        )
        if free >= execution.gpus:
            sentence += " on one machine"
    else:
        total = sum(runner.slots for runner, _ in of_each)
        taken = sum(load.slots for _, load in of_each)
        sentence = f"{taken} of {total} slots of environment {execution.environment} are taken"
    return sentence + _behind(db, execution, State.QUEUED)


def _behind(db: Database, execution: Execution, state: State) -> str:
    """Return a clause with the number of executions of the same environment ahead of this one."""
    same = [w for w in executions.waiting(db, state) if w.environment == execution.environment]
    before = _position(same, execution.id)
    if not before:
        return ""
    return f"; {'1 execution is' if before == 1 else f'{before} executions are'} before it"


def _position(waiting: Sequence[WaitingExecution], execution_id: int) -> int:
    return next((n for n, found in enumerate(waiting) if found.id == execution_id), 0)


def _gpus(count: int) -> str:
    return "1 GPU" if count == 1 else f"{count} GPUs"
