"""The values that a varied parameter may take, counted before any is created."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from valohai_yaml.objs.parameter import Parameter

from core.names import explain_unknown_name
from web.config.tasks.blueprint import SearchType, Variant

MAX_TRIALS = 1000
MOST_STEPS = 10**15  # up to this a float counts exactly
LARGEST = 1e300
TOLERANCE = Decimal("1e-9")  # of a step: 0 to 1 by 0.3333333333 reaches 1
NORMAL_WIDTHS = 6  # standard deviations from min to max
DISTRIBUTIONS = {"uniform": "uniform", "loguniform": "log", "log": "log", "normal": "normal"}


@dataclass(frozen=True)
class Choices:
    """A list of values."""

    values: tuple[Any, ...]

    @property
    def size(self) -> int:
        return len(self.values)

    def at(self, place: int) -> Any:
        return self.values[place]

    def draw(self, chance: random.Random) -> Any:
        return chance.choice(self.values)


@dataclass(frozen=True)
class Steps:
    """Evenly spaced numbers, rounded if `whole`."""

    start: Decimal
    step: Decimal
    size: int
    whole: bool

    def at(self, place: int) -> Any:
        value = self.start + place * self.step
        if self.whole:
            return round(value)
        return int(value) if value == value.to_integral_value() else float(value)

    def draw(self, chance: random.Random) -> Any:
        return self.at(chance.randrange(self.size))


@dataclass(frozen=True)
class Range:
    """All numbers from `low` to `high`, or only integers if `whole`; `scale` is uniform, log or normal."""

    low: float
    high: float
    scale: str
    whole: bool

    @property
    def size(self) -> int | None:
        """Number of values; None for a continuum."""
        if self.whole:
            return int(self.high) - int(self.low) + 1
        return 1 if self.low == self.high else None

    def at(self, place: int) -> Any:
        return self.low + place

    def draw(self, chance: random.Random) -> Any:
        if self.whole and self.scale == "uniform":
            return chance.randint(int(self.low), int(self.high))
        if self.scale == "uniform":
            value = chance.uniform(self.low, self.high)
        elif self.scale == "log":
            value = math.exp(chance.uniform(math.log(self.low), math.log(self.high)))
        else:
            value = chance.gauss((self.low + self.high) / 2, (self.high - self.low) / NORMAL_WIDTHS)
        return min(max(round(value) if self.whole else value, self.low), self.high)


Dimension = Choices | Steps | Range


def parse_dimension(variant: Variant, parameter: Parameter, kind: SearchType, chance: random.Random) -> Dimension:
    """Return the values that a parameter of the step may take. Raises ValueError if the rules are unusable.

    A grid needs a list of values, so values of the style random are drawn by `chance`. Other searches draw later.
    """
    rules = variant.rules
    if variant.style in ("single", "multiple"):
        return _listed(variant.style, rules)
    if parameter.choices is not None:  # a flag has them too
        raise ValueError(f"the style {variant.style} cannot use its choices: use the style multiple")
    whole = rules.get("integerify") is True or (parameter.type == "integer" and variant.style != "linear")
    grid = kind is SearchType.GRID
    if variant.style == "linear":
        return _linear(rules, whole, grid)
    if variant.style == "logspace":
        return _logspace(rules, whole, grid)
    found = _random(rules, whole)
    return _drawn(found, _count(rules), chance) if grid else found


def count_values(dimensions: Mapping[str, Dimension]) -> int | None:
    """Return the number of combinations, None for a continuum."""
    sizes = [found.size for found in dimensions.values()]
    return None if None in sizes else math.prod(size for size in sizes if size is not None)


def _listed(style: str, rules: Mapping[str, Any]) -> Choices:
    if style == "single":
        if rules.get("value") is None:
            raise ValueError("the style single needs a value")
        return Choices((rules["value"],))
    items = rules.get("items")
    if not isinstance(items, list) or not items:
        raise ValueError("the style multiple needs items, a list of values")
    return Choices(tuple(items[: _few(len(items))]))


def _linear(rules: Mapping[str, Any], whole: bool, grid: bool) -> Dimension:
    start, end, step = (Decimal(str(_number(rules, *names))) for names in (("start", "min"), ("end", "max"), ("step",)))
    if step == 0:
        raise ValueError("step is 0; it must lead from start to end")
    steps = (end - start) / step + TOLERANCE
    if steps < 0:
        raise ValueError(f"a step of {step} does not lead from {start} to {end}")
    if steps >= MOST_STEPS:
        raise ValueError(f"there are more than {MOST_STEPS:,} values; use a larger step than {step}")
    found = Steps(start, step, int(steps) + 1, whole)
    if not whole or not grid:
        return found
    return Choices(tuple(dict.fromkeys(found.at(place) for place in range(_few(found.size)))))


def _logspace(rules: Mapping[str, Any], whole: bool, grid: bool) -> Dimension:
    first, last, base = _number(rules, "start", "min"), _number(rules, "end", "max"), _number(rules, "base", default=10)
    if base <= 0:
        raise ValueError(f"base is {base}; it must be greater than 0")
    low, high = _power(base, first), _power(base, last)
    if not grid:
        return _range(min(low, high), max(low, high), "log", whole)
    count = _few(_count(rules))
    exponents = [first + place * (last - first) / max(count - 1, 1) for place in range(count)]
    values = [_power(base, exponent) for exponent in exponents]
    return Choices(tuple(dict.fromkeys(map(round, values))) if whole else tuple(values))


def _random(rules: Mapping[str, Any], whole: bool) -> Range:
    low, high = _number(rules, "min"), _number(rules, "max")
    distribution = rules.get("distribution") or "uniform"
    if distribution not in DISTRIBUTIONS:
        raise ValueError(explain_unknown_name("distribution", distribution, DISTRIBUTIONS))
    return _range(low, high, DISTRIBUTIONS[distribution], whole)


def _range(low: float, high: float, scale: str, whole: bool) -> Range:
    if low > high:
        raise ValueError(f"min is {low} and max is {high}, which is less")
    if scale == "log" and low <= 0:
        raise ValueError(f"min is {low}; on a logarithmic scale it must be greater than 0")
    if whole:
        low, high = math.ceil(low), math.floor(high)
        if low > high or high - low >= MOST_STEPS:
            raise ValueError("there is no whole number between min and max" if low > high else "max is too large")
    return Range(low, high, scale, whole)


def _drawn(found: Range, count: int, chance: random.Random) -> Choices:
    """Draw `count` values; integers are distinct, so there may be fewer."""
    values = [found.draw(chance) for _ in range(_few(count))]
    if found.size is None:
        return Choices(tuple(values))
    distinct = dict.fromkeys(values)
    wanted = min(count, found.size)
    for place in range(found.size):  # skips at most as many as were drawn
        if len(distinct) == wanted:
            break
        distinct.setdefault(found.at(place))
    return Choices(tuple(distinct))


def _power(base: float, exponent: float) -> float:
    try:
        value: float = float(base) ** exponent
    except OverflowError:
        value = math.inf
    if not 0 < value <= LARGEST:
        raise ValueError(f"{base} to the power of {exponent} is too {'small' if value == 0 else 'large'} a number")
    return value


def _count(rules: Mapping[str, Any]) -> int:
    value = _number(rules, "count")
    if value < 1 or value != int(value):
        raise ValueError(f"count is {value}; it must be a whole number, 1 or more")
    return int(value)


def _few(count: int) -> int:
    if count > MAX_TRIALS:
        raise ValueError(f"there are {count:,} values; at most {MAX_TRIALS:,} are allowed")
    return count


def _number(rules: Mapping[str, Any], *names: str, default: float | None = None) -> float:
    """Return the first of these rules that is present."""
    name = next((name for name in names if rules.get(name) is not None), None)
    if name is None:
        if default is None:
            raise ValueError(f"its rules need {' or '.join(names)}")
        return default
    value: object = rules[name]
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST:
        return value
    raise ValueError(f"{name} is {value!r:.80}, which is not a usable number (YAML wants 1.0e-5 for 1e-5)")
