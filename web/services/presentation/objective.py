"""What the executions of a task are compared by, and the best of them so far.

This is the only place that decides it, for pages, forges and the API.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core.groups import Task
from web.services.presentation import formats, headline, search_facts
from web.store import trials
from web.store.db import Database
from web.store.trials import Trial


@dataclass(frozen=True, kw_only=True)
class Goal:
    """A metadata key: the nearer to `target` the better, or without one the less, or the more."""

    key: str
    target: float | None = None
    less: bool = False

    def cost(self, value: float) -> float:
        """Smaller is better."""
        if self.target is not None:
            return abs(value - self.target)
        return value if self.less else -value

    @property
    def words(self) -> str:
        """Such as "lowest"."""
        if self.target is not None:
            return f"nearest to {formats.number(self.target)}"
        return "lowest" if self.less else "highest"


def of(db: Database, task: Task) -> Goal | None:
    """By the metric that the task names, or else by the most telling number that its executions print."""
    blueprint = search_facts.declared(task)
    if blueprint is not None and blueprint.target_metric:
        return of_key(blueprint.target_metric, blueprint.target_value)
    key = headline.choose(dict.fromkeys(trials.keys(db, task.id), 0))
    return of_key(key) if key else None


def of_key(key: str, target: float | None = None) -> Goal:
    """Without a target the key's name says which way is better."""
    return Goal(key=key, target=target, less=headline.less_is_better(key))


def best(db: Database, task: Task, goal: Goal) -> Trial | None:
    """The best of those that have ended, and not in error; of equals the first."""
    return trials.best(db, task.id, goal.key, target=goal.target, less=goal.less)


def curve(goal: Goal, found: Sequence[Trial]) -> list[float | None]:
    """For each the best that had been reached up to it, in the order of the search; None before the first."""
    reached: list[float | None] = []
    for trial in found:
        before = reached[-1] if reached else None
        now = trial.number if trial.state in trials.COUNTED else None
        better = now is not None and (before is None or goal.cost(now) < goal.cost(before))
        reached.append(now if better else before)
    return reached
