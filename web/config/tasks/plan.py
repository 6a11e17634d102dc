"""Plan a declared task with given values, within limits that are checked before anything is created."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.errors import NotFound
from web.config.steps.model import load_library_step, map_step_items
from web.config.steps.resolve import ResolvedStep, UnresolvedStep, resolve
from web.config.tasks.blueprint import TaskBlueprint, get_task_item, load_task, make_cannot_run_error
from web.config.tasks.search import Search, find_own_seed, search


@dataclass(frozen=True, kw_only=True)
class TaskPlan:
    """A task that can run. `config` contains the items that it needs, `first` is its first execution.

    `count` is the number of executions. `parameters`, `inputs` and `environment_variables` are the given values.
    """

    blueprint: TaskBlueprint
    config: Any
    first: ResolvedStep
    count: int
    parameters: Mapping[str, Any]
    inputs: Mapping[str, Sequence[str]]
    environment_variables: Mapping[str, str]


def plan(
    config: Any,
    name: str,
    *,
    parameters: Mapping[str, Any] | None = None,
    inputs: Mapping[str, Sequence[str]] | None = None,
    environment_variables: Mapping[str, str] | None = None,
    provided: Container[str] = (),
) -> TaskPlan:
    """Plan the task `name` with given values; a given parameter is not varied.

    If a list is given for a parameter of one value, its items are tried one by one and replace the task's own values of
    that parameter.

    Raises NotFound for an unknown task, and InvalidInput if it cannot run: every value of its search is checked, and a
    search of more than MAX_TRIALS is rejected before it is expanded.
    """
    config, given = _with_lists(config, name, parameters or {})
    found = load_search(config, name, given)
    blueprint = found.blueprint
    try:
        first = resolve(
            config,
            blueprint.step,
            parameters=given | found.values(0),
            inputs=inputs,
            environment_variables=environment_variables,
            provided=provided,
        )
    except UnresolvedStep as error:
        raise make_cannot_run_error(name, error.problems) from None
    return TaskPlan(
        blueprint=blueprint,
        config=[get_task_item(config, name), map_step_items(config)[blueprint.step]],
        first=first,
        count=found.count,
        parameters=given,
        inputs=dict(inputs or {}),
        environment_variables=dict(environment_variables or {}),
    )


def apply_variants(task: Mapping[str, Any], variants: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """Return the body of a task that tries the values of these parameters one by one."""
    kept = [variant for variant in task.get("parameters", ()) if variant["name"] not in variants]
    spread = [{"name": key, "style": "multiple", "rules": {"items": list(items)}} for key, items in variants.items()]
    return {**task, "parameters": kept + spread}


def _with_lists(config: Any, name: str, given: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return the configuration with a task that tries the given lists, and the other given values."""
    variants = _variants(config, name, given)
    if not variants:
        return config, dict(given)
    item = apply_variants(get_task_item(config, name)["task"], variants)
    others = {key: value for key, value in given.items() if key not in variants}
    return [map_step_items(config)[item["step"]], {"task": item}], others


def _variants(config: Any, name: str, given: Mapping[str, Any]) -> dict[str, Sequence[Any]]:
    """Return the lists that are given for parameters of one value. Raises as `load_task`."""
    blueprint = load_task(config, name)
    lists = {key: value for key, value in given.items() if isinstance(value, list)}
    if not lists or blueprint.step not in map_step_items(config):
        return {}
    parameters = load_library_step(config, blueprint.step).parameters
    return {key: value for key, value in lists.items() if key in parameters and not parameters[key].multiple}


def load_search(config: Any, name: str, given: Mapping[str, Any], seed: int | None = None) -> Search:
    """Return the search of a task with given parameters. Raises as `plan` does, except for problems of other values."""
    blueprint = load_task(config, name)
    try:
        step = load_library_step(config, blueprint.step)
    except NotFound as error:
        raise make_cannot_run_error(name, [str(error)]) from None
    return search(blueprint, step, given, (find_own_seed(blueprint) or 0) if seed is None else seed)
