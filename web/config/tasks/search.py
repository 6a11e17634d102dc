"""The search of a task: number of executions and values of each, except those that depend on earlier results."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from valohai_yaml.objs.parameter import Parameter
from valohai_yaml.objs.step import Step as LibraryStep

from web.config.steps.resolve import convert_value, find_unknown_names
from web.config.tasks.blueprint import SearchType, TaskBlueprint, make_cannot_run_error
from web.config.tasks.variants import LARGEST, MAX_TRIALS, Dimension, Range, Steps, count_values, parse_dimension

DEFAULT_COUNT = {SearchType.RANDOM: 10, SearchType.BAYESIAN: 30}  # if execution-count is not given
SHOWN = 5  # problems shown; the others are mostly the same
SEEDS = 2**53
MANY = 10**15


@dataclass(frozen=True, kw_only=True)
class Search:
    """A task's search.

    `dimensions` are the varied parameters in declared order, `rows` the sets of a manual search. `count` is the number
    of executions; `seed` makes random values reproducible.
    """

    blueprint: TaskBlueprint
    step: LibraryStep
    dimensions: Mapping[str, Dimension]
    rows: tuple[Mapping[str, Any], ...]
    count: int
    seed: int

    def values(self, trial: int) -> dict[str, Any]:
        """Return the varied parameters of one execution.

        A Bayesian search starts with these and suggests others later.
        """
        if self.blueprint.type is SearchType.MANUAL:
            return dict(self.rows[trial])
        if self.blueprint.type is SearchType.GRID:
            return self._cell(trial)
        return {
            name: found.draw(random.Random(f"{self.seed}:{trial}:{name}"))  # noqa: S311 - a search, no secret
            for name, found in self.dimensions.items()
        }

    def _cell(self, trial: int) -> dict[str, Any]:
        """Return the values of a grid cell; the last parameter changes fastest."""
        places = {}
        for name in reversed(list(self.dimensions)):
            trial, places[name] = divmod(trial, self.dimensions[name].size or 1)
        return {name: found.at(places[name]) for name, found in self.dimensions.items()}


def search(blueprint: TaskBlueprint, step: LibraryStep, given: Mapping[str, Any], seed: int = 0) -> Search:
    """Return the search of a task with the given step; a given parameter is not varied.

    Raises InvalidInput with every reason: unusable rules, values that the step rejects, too many executions. Executions
    are counted before anything is expanded.
    """
    problems: list[str] = []
    fixed = {name for name, value in given.items() if value is not None}
    dimensions = _dimensions(blueprint, step, fixed, seed, problems)
    rows: tuple[Mapping[str, Any], ...] = ()
    if blueprint.type is SearchType.MANUAL and not problems:
        rows = tuple(_rows(blueprint, dimensions, fixed, problems))
    count = 0 if problems else _count(blueprint, dimensions, rows)
    if count > MAX_TRIALS:
        shown = f"{count:,}" if count < MANY else f"more than {MANY:,}"
        problems.append(f"it would create {shown} executions; a task has at most {MAX_TRIALS:,}")
    if not problems:
        problems += _refused(blueprint, step, dimensions, rows)
    if problems:
        more = len(problems) - SHOWN
        raise make_cannot_run_error(blueprint.name, problems[:SHOWN] + ([f"and {more} more"] if more > 0 else []))
    return Search(blueprint=blueprint, step=step, dimensions=dimensions, rows=rows, count=count, seed=seed)


def find_own_seed(blueprint: TaskBlueprint) -> int | None:
    """Return the first seed in the rules of a search."""
    for variant in blueprint.variants:
        seed = variant.rules.get("seed")
        if isinstance(seed, int | float) and abs(seed) <= LARGEST:
            return int(seed) % SEEDS
    return None


def _dimensions(
    blueprint: TaskBlueprint, step: LibraryStep, fixed: set[str], seed: int, problems: list[str]
) -> dict[str, Dimension]:
    found = {}
    varied = [variant for variant in blueprint.variants if variant.name not in fixed]
    problems += find_unknown_names("parameter", (variant.name for variant in varied), step.parameters)
    size = 1
    for variant in varied:
        if variant.name not in step.parameters:
            continue
        if size > MANY:
            break  # too many already: nothing more needs to be expanded
        chance = random.Random(f"{seed}:{variant.name}")  # noqa: S311
        try:
            found[variant.name] = parse_dimension(variant, step.parameters[variant.name], blueprint.type, chance)
        except ValueError as error:
            problems.append(f'parameter "{variant.name}": {error}')
            continue
        size *= (found[variant.name].size or 1) if blueprint.type is SearchType.GRID else 1
    return found


def _rows(
    blueprint: TaskBlueprint, dimensions: Mapping[str, Dimension], fixed: set[str], problems: list[str]
) -> Iterator[Mapping[str, Any]]:
    """Yield the sets as they are, or combine `multiple` parameters item by item; single values are in each row."""
    same = {name: found.at(0) for name, found in dimensions.items() if found.size == 1}
    lists = {name: found for name, found in dimensions.items() if found.size != 1}
    if wrong := [variant.name for variant in blueprint.variants if variant.style not in ("single", "multiple")]:
        problems.append(f"a manual search takes the styles single and multiple; change {', '.join(wrong):.200}")
    elif blueprint.parameter_sets and lists:
        problems.append(f"with parameter-sets, a parameter has one value, but {', '.join(lists):.200} has several")
    elif blueprint.parameter_sets:
        for row in blueprint.parameter_sets:
            yield same | {name: value for name, value in row.items() if name not in fixed and value is not None}
    elif len({found.size for found in lists.values()}) > 1:
        sizes = ", ".join(f"{name} {found.size}" for name, found in lists.items())
        problems.append(
            f"without parameter-sets, all parameters need as many items as there are executions: {sizes:.200}"
        )
    else:
        for place in range(next((found.size or 1 for found in lists.values()), 1)):
            yield same | {name: found.at(place) for name, found in lists.items()}


def _count(blueprint: TaskBlueprint, dimensions: Mapping[str, Dimension], rows: tuple[Mapping[str, Any], ...]) -> int:
    if blueprint.type is SearchType.MANUAL:
        return len(rows)
    size = count_values(dimensions)
    if blueprint.type is SearchType.GRID:
        return size or 0  # no dimension of a grid is a continuum
    wanted = blueprint.execution_count or DEFAULT_COUNT[blueprint.type]
    return min(wanted, size) if size is not None and blueprint.type is SearchType.BAYESIAN else wanted


def _refused(
    blueprint: TaskBlueprint,
    step: LibraryStep,
    dimensions: Mapping[str, Dimension],
    rows: tuple[Mapping[str, Any], ...],
) -> Iterator[str]:
    """Yield, for each parameter, the first value that its type, choices, min or max reject, not one per combination.

    Of an evenly spaced list that a search draws from, only the ends and the middle are checked.
    """
    for name, found in dimensions.items():
        yield from _first_problem(step.parameters[name], _samples(found, blueprint.type is SearchType.GRID))
    names = dict.fromkeys(name for row in rows for name in row)
    yield from find_unknown_names("parameter", names, step.parameters)
    for name in names:
        if name in step.parameters:
            yield from _first_problem(step.parameters[name], (row[name] for row in rows if name in row))


def _samples(found: Dimension, grid: bool) -> Iterator[Any]:
    if isinstance(found, Range):
        yield from (found.low, found.high)
    elif isinstance(found, Steps) and not grid:
        yield from (found.at(place) for place in {0, found.size // 2, found.size - 1})
    else:
        yield from (found.at(place) for place in range(found.size))


def _first_problem(parameter: Parameter, values: Iterator[Any]) -> Iterator[str]:
    for value in values:
        try:
            convert_value(parameter, value)
        except ValueError as error:
            yield f'parameter "{parameter.name}": {error}'
            return
