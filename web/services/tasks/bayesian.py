"""Choose the next points of a Bayesian search from the results so far. Only this module uses optuna.

No study is stored: one is built in memory from the executions each time, which takes a quarter of a second for a
thousand. optuna is imported only when a search goes beyond its first 20 executions.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Any

from valohai_yaml.objs.parameter import Parameter
from valohai_yaml.utils import listify

from core.states import FINAL
from web.config.steps.resolve import convert_value
from web.config.tasks.search import Search
from web.config.tasks.variants import Choices, Dimension, Steps, count_values
from web.services.presentation import objective
from web.store.trials import COUNTED, Trial

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution

RANDOM_FIRST = 20  # executions with random values; those of later ones are chosen from the results
TRIES = 10  # attempts to get a new combination from optuna; then any untried one is taken

Point = tuple[Any, ...]  # one code per dimension


@dataclass(frozen=True)
class _Axis:
    """A varied parameter as optuna sees it: an index into its choices or steps, or a number."""

    dimension: Dimension
    parameter: Parameter
    known: Sequence[Any]  # the choices, converted to the type of the step's parameter

    def code(self, value: Any) -> Any:
        """Return the code of a value, None if it is outside the search."""
        found = self.dimension
        try:
            if isinstance(found, Choices):
                return self.known.index(value)
            number = Decimal(str(*listify(value)))
            code = round((number - found.start) / found.step) if isinstance(found, Steps) else number
            low, high = (0, found.size - 1) if isinstance(found, Steps) else (found.low, found.high)
        except (ArithmeticError, ValueError, TypeError):
            return None
        if not low <= code <= high:
            return None
        return int(code) if isinstance(found, Steps) or found.whole else float(code)

    def value(self, code: Any) -> Any:
        return self.dimension.at(code) if isinstance(self.dimension, Choices | Steps) else code

    def code_at(self, place: int) -> Any:
        """Return the code at an index of a discrete dimension."""
        return place if isinstance(self.dimension, Choices | Steps) else self.dimension.at(place)

    @cached_property
    def distribution(self) -> BaseDistribution:
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        found = self.dimension
        if isinstance(found, Choices):
            return CategoricalDistribution(tuple(range(found.size)))
        if isinstance(found, Steps):
            return IntDistribution(0, found.size - 1)
        if found.whole:
            return IntDistribution(int(found.low), int(found.high), log=found.scale == "log")
        return FloatDistribution(found.low, found.high, log=found.scale == "log")


def suggest_values(search: Search, found: Sequence[Trial], many: int) -> list[dict[str, Any]]:
    """Return the varied parameters of the next executions.

    `found` are the existing executions with their value of the target metric. Stateless: the same executions give the
    same result. The first ones are random; executions that failed or printed no value of the metric are ignored. No
    combination is repeated while there are untried ones.
    """
    if not search.dimensions:
        return [{} for _ in range(many)]
    axes = {name: _axis(dimension, search.step.parameters[name]) for name, dimension in search.dimensions.items()}
    seen = [_point(axes, trial.parameters) for trial in found]
    visited = set(seen)
    study = _study(search, axes, found, seen) if len(found) + many > RANDOM_FIRST else None
    chosen: list[dict[str, Any]] = []
    for place in range(len(found), len(found) + many):
        if place < RANDOM_FIRST or study is None:
            first = search.values(place)
            point = _point(axes, {name: convert_value(axes[name].parameter, value) for name, value in first.items()})
        else:
            point = _ask_for_point(study, axes, visited)
        if point in visited:
            point = _unvisited(search, axes, visited, place)
        visited.add(point)
        if study is not None:
            _add(study, axes, point)
        chosen.append({name: axis.value(code) for (name, axis), code in zip(axes.items(), point, strict=True)})
    return chosen


def _axis(dimension: Dimension, parameter: Parameter) -> _Axis:
    choices = dimension.values if isinstance(dimension, Choices) else ()
    return _Axis(dimension, parameter, [convert_value(parameter, choice) for choice in choices])


def _point(axes: Mapping[str, _Axis], values: Mapping[str, Any]) -> Point:
    return tuple(axis.code(values.get(name)) for name, axis in axes.items())


def _study(search: Search, axes: Mapping[str, _Axis], found: Sequence[Trial], seen: Sequence[Point]) -> Study:
    """Build an in-memory study from the existing executions."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    blueprint = search.blueprint
    wanted = objective.make_objective(blueprint.target_metric, blueprint.target_value)
    seed = random.Random(f"{search.seed}:{len(found)}").getrandbits(32)  # noqa: S311
    sampler = optuna.samplers.TPESampler(n_startup_trials=1, constant_liar=True, seed=seed)
    study = optuna.create_study(sampler=sampler)
    for trial, point in zip(found, seen, strict=True):
        if None in point:
            continue
        if trial.state not in FINAL:
            _add(study, axes, point)
        elif trial.state in COUNTED and trial.number is not None:
            _add(study, axes, point, wanted.cost(trial.number))
    return study


def _add(study: Study, axes: Mapping[str, _Axis], point: Point, cost: float | None = None) -> None:
    """Add a finished trial, or without `cost` a running one, so that its surroundings are not suggested again."""
    from optuna.trial import TrialState, create_trial

    study.add_trial(
        create_trial(
            state=TrialState.RUNNING if cost is None else TrialState.COMPLETE,
            params=dict(zip(axes, point, strict=True)),
            distributions={name: axis.distribution for name, axis in axes.items()},
            value=cost,
        )
    )


def _ask_for_point(study: Study, axes: Mapping[str, _Axis], visited: set[Point]) -> Point:
    from optuna.trial import TrialState

    point: Point = ()
    for _ in range(TRIES):
        asked = study.ask({name: axis.distribution for name, axis in axes.items()})
        study.tell(asked, state=TrialState.FAIL)  # `suggest` adds the chosen point itself
        point = tuple(asked.params[name] for name in axes)
        if point not in visited:
            break
    return point


def _unvisited(search: Search, axes: Mapping[str, _Axis], visited: set[Point], place: int) -> Point:
    """Return the first untried combination after a random one. Points of a continuum never repeat."""
    size = count_values(search.dimensions) or 1
    start = random.Random(f"{search.seed}:{place}").randrange(size)  # noqa: S311
    point: Point = ()
    for cell in range(start, start + len(visited) + 1):
        codes, rest = [], cell % size
        for axis in axes.values():
            rest, at = divmod(rest, axis.dimension.size or 1)
            codes.append(axis.code_at(at))
        point = tuple(codes)
        if point not in visited:
            break
    return point
