"""Executions of a task: how many are due, their parameters, and their launch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from core.errors import InvalidInput
from core.groups import Task
from core.model import Execution, Origin
from web.config.steps.resolve import ResolvedStep, resolve
from web.config.tasks.blueprint import SearchType
from web.config.tasks.plan import load_search
from web.config.tasks.search import DEFAULT_COUNT, Search
from web.services import launch as service
from web.services.context import Context
from web.services.tasks import bayesian
from web.store import logs, trials, variables
from web.store.db import Database
from web.store.tasks import Tally

AT_ONCE = 50  # executions that are created or stopped in one transaction
BATCH = 5  # default batch size of a Bayesian search: the next batch waits for the results of the previous one
LOADED = 200  # cached searches: tasks do not change

Resolved = Sequence[ResolvedStep]


def build_search(task: Task) -> Search:
    """Return the search of a task. Raises InvalidInput if its stored config is no longer valid."""
    return _search(task.name, json.dumps(task.config), json.dumps(task.parameters), task.seed)


@lru_cache(maxsize=LOADED)
def _search(name: str, config: str, parameters: str, seed: int) -> Search:
    return load_search(json.loads(config), name, json.loads(parameters), seed)


def count_due(search: Search, tally: Tally) -> int:
    """Return how many executions to create now."""
    blueprint = search.blueprint
    many = min(search.count - tally.made, AT_ONCE)
    if blueprint.max_unfinished is not None:
        many = min(many, blueprint.max_unfinished - tally.unfinished)
    if blueprint.type is SearchType.BAYESIAN:
        size = blueprint.batch_size or BATCH
        of_batch = tally.made % size
        many = 0 if of_batch == 0 and tally.unfinished else min(many, size - of_batch)
    return max(many, 0)


def count_wanted(search: Search) -> int:
    return search.blueprint.execution_count or DEFAULT_COUNT.get(search.blueprint.type, search.count)


def is_exhausted(search: Search) -> bool:
    """Return whether a Bayesian search has fewer combinations than executions wanted."""
    return search.blueprint.type is SearchType.BAYESIAN and search.count < count_wanted(search)


def prepare(db: Database, task: Task, search: Search, first: int, many: int) -> tuple[Resolved, str]:
    """Resolve `many` executions from trial `first` on.

    Stops at the first one that cannot run; the second value is the reason, or "".
    """
    provided = variables.list_names(db, task.project_id)
    resolved: list[ResolvedStep] = []
    for values in _values(db, task, search, first, many):
        try:
            resolved.append(
                resolve(
                    task.config,
                    task.step,
                    parameters={**task.parameters, **values},
                    inputs=task.inputs,
                    environment_variables=task.environment_variables,
                    provided=provided,
                )
            )
        except InvalidInput as error:
            return resolved, f"trial {first + len(resolved) + 1} cannot be created: {error}"
    return resolved, ""


def launch(context: Context, task: Task, resolved: Resolved, first: int, count: int) -> None:
    """Create the executions of trials from trial `first` on."""
    common = service.make_group_request(context.db, task, Origin.TRIAL, task.why)
    common = replace(common, task_id=task.id, pipeline_node_id=task.pipeline_node_id)
    requests = [replace(common, plan=step, trial=trial) for trial, step in enumerate(resolved, first)]
    for trial, execution in enumerate(service.start(context, requests), first + 1):
        assert isinstance(execution, Execution)  # noqa: S101  (its plan is a step)
        place = f"Trial {trial} of {count} of task !{task.counter} {task.name}"
        logs.log_status(context.db, context.config.logs_dir, execution, place)


def _values(db: Database, task: Task, search: Search, first: int, many: int) -> list[dict[str, Any]]:
    if search.blueprint.type is SearchType.BAYESIAN:
        found = trials.list_for_task(db, task.id, search.blueprint.target_metric)
        return bayesian.suggest_values(search, found, many)
    return [search.values(place) for place in range(first, first + many)]
