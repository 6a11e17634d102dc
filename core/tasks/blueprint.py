"""A task that a stored configuration declares: which step, and what its search tries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class SearchType(StrEnum):
    """How the values of a task's executions are found. A distributed task is none of these and does not run here."""

    GRID = "grid_search"
    RANDOM = "random_search"
    MANUAL = "manual_search"
    BAYESIAN = "bayesian_tpe"


class OnChildError(StrEnum):
    """What an execution that ended in error means for its task."""

    CONTINUE_AND_COMPLETE = "continue-and-complete"
    CONTINUE_AND_ERROR = "continue-and-error"
    STOP_ALL_AND_ERROR = "stop-all-and-error"


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A parameter that the search varies. `style` is single, multiple, linear, logspace or random; `rules` as written."""

    name: str
    style: str
    rules: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class TaskBlueprint:
    """A declared task. Counts are None where none was given; `target_metric` and `stop_condition` are then "".

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


def task_names(config: Any) -> tuple[str, ...]:
    """The names of the tasks of a stored configuration, in file order."""
    raise NotImplementedError


def load_task(config: Any, name: str) -> TaskBlueprint:
    """The task `name` of a stored configuration. Raises NotFound, and InvalidInput for one that cannot run here."""
    raise NotImplementedError
