"""Why an execution does not run yet, in one sentence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cached_property

from core.model import Execution, Runner
from core.states import WAITING, State
from web.services import disk
from web.services.context import Context
from web.services.scheduling import placement, quota
from web.services.scheduling.dispatch import is_online, takes_more
from web.store import executions, projects, runners
from web.store.db import Database
from web.store.runners import Load


def explain_wait(context: Context, execution: Execution) -> str:
    """Return why an execution does not run yet; "" if it is neither created nor queued."""
    return map_wait_reasons(context, [execution]).get(execution.id, "")


def map_wait_reasons(context: Context, found: Sequence[Execution]) -> dict[int, str]:
    """Return by id why executions do not run yet, for those that are created or queued."""
    waiting = [execution for execution in found if execution.state in WAITING]
    facts = _Facts(context.db)
    shortage = disk.explain_shortage(context.config) if waiting else ""
    return {e.id: shortage if shortage and e.runner_id is None else _why(facts, e) for e in waiting}


class _Facts:
    """The state of the queue, each part read once and only if it is needed."""

    def __init__(self, db: Database) -> None:
        self.db = db

    @cached_property
    def runners(self) -> list[Runner]:
        return runners.list_runners(self.db)

    @cached_property
    def load(self) -> dict[int, Load]:
        return runners.map_load(self.db)

    @cached_property
    def projects(self) -> dict[int, str]:
        return {project.id: project.name for project in projects.list_projects(self.db)}

    @cached_property
    def quota(self) -> quota.Quota:
        return quota.load_quota(self.db)

    @cached_property
    def ahead(self) -> dict[int, int]:
        """How many executions of the same state and environment are before one, by its id."""
        seen: Counter[tuple[State, str]] = Counter()
        result: dict[int, int] = {}
        for state in sorted(WAITING):
            for waiting in executions.list_waiting(self.db, state):
                result[waiting.id] = seen[state, waiting.environment]
                seen[state, waiting.environment] += 1
        return result


def _why(facts: _Facts, execution: Execution) -> str:
    if execution.state is State.CREATED:
        return _why_created(facts, execution)
    if execution.runner_id is not None:
        names = {runner.id: runner.name for runner in facts.runners}
        return f"Sent to runner {names.get(execution.runner_id, '(removed)')}"
    serving = [runner for runner in facts.runners if execution.environment in runner.environments]
    project = facts.projects[execution.project_id]
    taking = [runner for runner in serving if runner.takes(project)]
    if serving and not taking:
        return f"No runner of environment {execution.environment} accepts project {project}"
    return _why_no_runner(execution, taking) or _why_no_capacity(facts, execution, taking)


def _why_created(facts: _Facts, execution: Execution) -> str:
    limit_reason = facts.quota.limit_reason(execution.project_id, execution.environment)
    if not limit_reason:
        return "Waiting to be queued"
    return limit_reason + _behind(facts, execution)


def _why_no_runner(execution: Execution, serving: Sequence[Runner]) -> str:
    """Return why no runner can take the execution however long it waits, or "" if one can."""
    where = f"of environment {execution.environment}"
    if not serving:
        return f"There is no runner of environment {execution.environment}"
    online = [runner for runner in serving if is_online(runner)]
    if not online:
        return f"No runner {where} is online"
    open_ones = [runner for runner in online if takes_more(runner)]
    if not open_ones:
        return f"Every online runner {where} is draining"
    most = max(map(placement.count_devices, open_ones))
    if execution.gpus > most:
        has = f"the most is {most}" if most else "they have none"
        return f"No online runner {where} has {_gpus(execution.gpus)}: {has}"
    if not execution.gpus and not any(runner.slots for runner in open_ones):
        return f"No online runner {where} has slots for executions without GPUs"
    return ""


def _why_no_capacity(facts: _Facts, execution: Execution, serving: Sequence[Runner]) -> str:
    of_each = [(runner, facts.load.get(runner.id, runners.NO_LOAD)) for runner in serving if takes_more(runner)]
    if execution.gpus:
        total = sum(placement.count_devices(runner) for runner, _ in of_each)
        free = total - sum(taken.devices for _, taken in of_each)
        sentence = f"Needs {_gpus(execution.gpus)}: {free} of {total} in environment {execution.environment} are free"
        if free >= execution.gpus:
            sentence += ", but not on one machine"
    else:
        total = sum(runner.slots for runner, _ in of_each)
        taken = sum(load.slots for _, load in of_each)
        sentence = f"{taken} of {total} slots of environment {execution.environment} are in use"
    return sentence + _behind(facts, execution)


def _behind(facts: _Facts, execution: Execution) -> str:
    """Return a clause with the number of executions of the same environment ahead of this one."""
    before = facts.ahead.get(execution.id, 0)
    if not before:
        return ""
    return f"; {'1 execution is' if before == 1 else f'{before} executions are'} ahead in the queue"


def _gpus(count: int) -> str:
    return "1 GPU" if count == 1 else f"{count} GPUs"
