"""A declared task and the values asked for → what it will run, bounded before anything of it is made."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.steps.resolve import ResolvedStep
from core.tasks.blueprint import TaskBlueprint

MAX_TRIALS = 1000


@dataclass(frozen=True, kw_only=True)
class TaskPlan:
    """A task that can run. `config` has the items it needs, `first` is its first execution, `count` how many there will be.

    `parameters`, `inputs` and `environment_variables` are the values given.
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
    """The task `name` with values; a parameter that is given is not varied.

    Raises NotFound for an unknown task, and InvalidInput for one that cannot run: every value of its search is checked,
    and a search of more than MAX_TRIALS is refused before it is expanded.
    """
    raise NotImplementedError
