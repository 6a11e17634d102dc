"""Load a task of a stored configuration: its step, and the values that its search tries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import valohai_yaml
from valohai_yaml.objs.task import Task as LibraryTask
from valohai_yaml.objs.task import TaskType

from core.errors import CannotRun, NotFound, Problem
from core.names import explain_unknown_name
from web.config import conditions

NAME_CHARS = 80
PROBLEM_CHARS = 500
ENGINE = "optuna"


class SearchType(StrEnum):
    """How a task chooses the values of its executions. Distributed tasks are none of these and do not run here."""

    GRID = "grid_search"
    RANDOM = "random_search"
    MANUAL = "manual_search"
    BAYESIAN = "bayesian_tpe"


class OnChildError(StrEnum):
    """Effect of an execution's error on its task."""

    CONTINUE_AND_COMPLETE = "continue-and-complete"
    CONTINUE_AND_ERROR = "continue-and-error"
    STOP_ALL_AND_ERROR = "stop-all-and-error"


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A varied parameter. `style` is single, multiple, linear, logspace or random; `rules` are as written."""

    name: str
    style: str
    rules: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class TaskBlueprint:
    """A declared task. Counts are None if not given; `target_metric` and `stop_condition` are "" then.

    `parameter_sets` are those of a manual search. `notes` are sentences about keys that have no effect here.
    """

    name: str
    step: str
    type: SearchType
    variants: tuple[Variant, ...]
    parameter_sets: tuple[Mapping[str, Any], ...]
    execution_count: int | None
    batch_size: int | None
    max_unfinished: int | None
    target_metric: str
    target_value: float | None
    on_child_error: OnChildError
    stop_condition: str
    notes: tuple[str, ...]


def list_task_names(config: Any) -> tuple[str, ...]:
    """Return the names of the tasks of a stored configuration, in file order."""
    return tuple(_items(config))


def load_task(config: Any, name: str) -> TaskBlueprint:
    """Load the task `name` of a stored configuration. Raises NotFound, and CannotRun if it cannot run here."""
    items = _items(config)
    if name not in items:
        raise NotFound(explain_unknown_name("task", name, items))
    try:
        task = valohai_yaml.parse([items[name]], validate=False).tasks[name]
    except Exception as error:  # noqa: BLE001 - the library raises many classes on unexpected items
        raise make_cannot_run_error(name, [f"{type(error).__name__}: {error!s:.200}"]) from None
    if problems := list(_problems(task)):
        raise make_cannot_run_error(name, problems)
    return TaskBlueprint(
        name=task.name,
        step=task.step,
        type=SearchType(task.type.value),
        variants=tuple(
            Variant(name=variant.name, style=str(variant.style.value), rules=dict(variant.rules))
            for variant in task.parameters
        ),
        parameter_sets=tuple(task.parameter_sets),
        execution_count=task.execution_count,
        batch_size=task.execution_batch_size,
        max_unfinished=task.maximum_queued_executions,
        target_metric=task.optimization_target_metric or "",
        target_value=task.optimization_target_value,
        on_child_error=OnChildError(task.on_child_error.value if task.on_child_error else "continue-and-error"),
        stop_condition=task.stop_condition or "",
        notes=tuple(_notes(task)),
    )


def make_cannot_run_error(name: str, problems: Sequence[str]) -> CannotRun:
    """Create the exception for a task that cannot run."""
    return CannotRun(f'task "{name:.{NAME_CHARS}}"', [_cut(problem) for problem in problems])


def _cut(problem: str) -> str:
    return problem.cut(PROBLEM_CHARS) if isinstance(problem, Problem) else problem[:PROBLEM_CHARS]


def get_task_item(config: Any, name: str) -> dict[str, Any]:
    """Return the item that declares an existing task."""
    return _items(config)[name]


def _items(config: Any) -> dict[str, dict[str, Any]]:
    """Return the items that declare tasks, by name; the last of the same name counts, as in the library."""
    items = config if isinstance(config, list) else []
    return {item["task"]["name"]: {"task": item["task"]} for item in items if "task" in item}


def _problems(task: LibraryTask) -> Iterator[str]:
    if task.type is TaskType.DISTRIBUTED:
        yield "distributed tasks are not supported here; a step of one execution can use several GPUs"
    if task.parameter_sets and task.type is not TaskType.MANUAL_SEARCH:
        yield f"parameter-sets are for `type: manual_search`, but the type is {task.type.value}"
    if task.type is TaskType.BAYESIAN_TPE and not task.optimization_target_metric:
        yield "a bayesian_tpe search needs optimization-target-metric, the metadata key to optimize"
    if task.stop_condition and (problem := conditions.find_problem(task.stop_condition)):
        yield f"stop-condition: {problem}"
    for name, count in Counter(variant.name for variant in task.parameters).items():
        if count > 1:
            yield f'parameter "{name:.{NAME_CHARS}}" is declared {count} times'
    yield from _wrong_numbers(task)


def _wrong_numbers(task: LibraryTask) -> Iterator[str]:
    for key in ("execution_count", "execution_batch_size", "maximum_queued_executions"):
        value = getattr(task, key)
        if value is not None and (type(value) is not int or value < 1):
            yield f"{key.replace('_', '-')} is {value!r:.40}; it must be a whole number, 1 or more, or be left out"
    if type(task.optimization_target_value) not in (int, float, type(None)):
        yield f"optimization-target-value is {task.optimization_target_value!r:.40}, which is not a number"


def _notes(task: LibraryTask) -> Iterator[str]:
    if task.reuse_children:
        yield "reuse-children is ignored: every execution runs"
    if task.engine and task.engine != ENGINE:
        yield f'engine "{task.engine:.40}" is ignored: only {ENGINE} is supported'
    if task.execution_count and task.type in (TaskType.GRID_SEARCH, TaskType.MANUAL_SEARCH):
        yield f"execution-count is ignored: a {task.type.value} runs every combination"
    if task.execution_batch_size and task.type is not TaskType.BAYESIAN_TPE:
        yield "execution-batch-size is ignored: it is for bayesian_tpe; maximum-queued-executions is for all"
    if task.type is TaskType.BAYESIAN_TPE and task.optimization_target_value is None:
        metric = task.optimization_target_metric
        yield (
            f'there is no optimization-target-value: "{metric:.40}" is minimized if its name contains loss or error, '
            "else maximized"
        )
