"""Objective of a task: the metric by which its executions are compared, and the best execution so far.

Pages, forges and the API all use this module, so that they agree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.groups import Task
from web.services.presentation import formats, headline, search_facts
from web.store import trials
from web.store.db import Database
from web.store.trials import Trial


@dataclass(frozen=True, kw_only=True)
class Objective:
    """A metadata key and its direction: nearest to `target` is best; without one, lowest if `less`, else highest."""

    key: str
    target: float | None = None
    less: bool = False

    def cost(self, value: float) -> float:
        """Return the cost of a value; smaller is better."""
        if self.target is not None:
            return abs(value - self.target)
        return value if self.less else -value

    @property
    def words(self) -> str:
        """The direction in words, such as "lowest"."""
        if self.target is not None:
            return f"nearest to {formats.format_number(self.target)}"
        return "lowest" if self.less else "highest"


def map_objectives_by_task(db: Database, found: Sequence[Task]) -> dict[int, Objective]:
    """Return objectives by task id: the declared metric, or else the most important number its executions print."""
    keys = trials.list_keys_by_task(db, [task.id for task in found])
    result: dict[int, Objective] = {}
    for task in found:
        blueprint = search_facts.find_blueprint(task)
        if blueprint is not None and blueprint.target_metric:
            result[task.id] = make_objective(blueprint.target_metric, blueprint.target_value)
        elif key := headline.choose(dict.fromkeys(keys[task.id], 0)):
            result[task.id] = make_objective(key)
    return result


def make_objective(key: str, target: float | None = None) -> Objective:
    """Return the objective for a key; without a target, the key's name determines the direction."""
    return Objective(key=key, target=target, less=headline.less_is_better(key))


def map_best_by_task(db: Database, goals: Mapping[int, Objective]) -> dict[int, Trial]:
    """Return by task id the best execution that ended without error; the first of equals."""
    return trials.map_best_by_task(db, {task_id: (goal.key, goal.target, goal.less) for task_id, goal in goals.items()})


def compute_best_so_far(goal: Objective, found: Sequence[Trial]) -> list[float | None]:
    """Return the best value up to each trial, in the order of the search; None before the first value."""
    reached: list[float | None] = []
    for trial in found:
        before = reached[-1] if reached else None
        now = trial.number if trial.state in trials.COUNTED else None
        better = now is not None and (before is None or goal.cost(now) < goal.cost(before))
        reached.append(now if better else before)
    return reached
