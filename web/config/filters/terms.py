"""Give the comparisons of a filter their meaning: fields with typed values, parameters and metrics."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import Enum

from core import clock
from core.names import explain_unknown_name
from core.states import State
from core.text import join_words
from web.config.filters import parse as syntax
from web.config.filters.parse import Clause, Comparison, Joined, Leaf, Node, Not, make_error

FIELDS = ("step", "state", "branch", "commit", "message", "who", "tag", "task", "pipeline", "number", "created",
          "duration", "runner", "environment")  # fmt: skip
STATES = {
    "waiting": "created", "running": "started", "succeeded": "complete", "failed": "error", "unfinished": "incomplete",
    "stopping": "stopping",
} | {str(state): str(state) for state in State}  # fmt: skip
EQUAL, ORDER = ("=", "!="), ("<", "<=", ">", ">=")
MAX_PATTERN_CHARS, MAX_WILDCARDS = 200, 8  # of a glob: its time grows with the wildcards
UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
AMOUNT = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)")
YEARS = range(1970, 9000)
DAY = re.compile(r"\d{4}-\d\d-\d\d")


class NameKind(Enum):
    """The kind of name in `Term.name`."""

    FIELD = "field"  # one of FIELDS
    WORD = "word"  # no name: a word of the step, the title or the commit message
    PARAMETER = "parameter"
    METRIC = "metric"


PREFIXES = {"p.": NameKind.PARAMETER, "m.": NameKind.METRIC}


@dataclass(frozen=True, kw_only=True)
class Term(Leaf):
    """A comparison whose value suits its name.

    The value of `~` is a glob in lower case; that of `state` is a status as in `Selection`; that of `created` a time of
    core.clock, and that of `duration` seconds.
    """

    kind: NameKind
    name: str
    operator: str
    value: str | float


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Parts that must all be true, with the text of each."""

    clauses: tuple[Clause, ...] = ()

    def without(self, index: int) -> str:
        """Return the filter without one of its clauses."""
        return " and ".join(clause.text for i, clause in enumerate(self.clauses) if i != index)


@dataclass(frozen=True, kw_only=True)
class Names:
    """Parameters and metrics that a filter may use without the prefixes `p.` and `m.`."""

    parameters: Collection[str] = ()
    metrics: Collection[str] = ()


def read(text: str, names: Names, now: datetime | None = None) -> Filter:
    """Return a filter that can be applied. Raises InvalidInput for one that cannot be understood."""
    reader = _TermReader(names, now or datetime.now(UTC))
    return Filter(clauses=tuple(replace(clause, node=reader.node(clause.node)) for clause in syntax.parse(text)))


class _TermReader:
    def __init__(self, names: Names, now: datetime) -> None:
        self.names = names
        self.now = now

    def node(self, node: Node) -> Node:
        if isinstance(node, Not):
            return Not(part=self.node(node.part))
        if isinstance(node, Joined):
            return replace(node, parts=tuple(map(self.node, node.parts)))
        return self.term(node) if isinstance(node, Comparison) else node

    def term(self, found: Comparison) -> Node:
        if not found.operator:
            return Term(kind=NameKind.WORD, name="", operator="~", value=found.value)
        kind, name = self._kind(found)
        if kind is not NameKind.FIELD:
            return Term(kind=kind, name=name, operator=found.operator, value=_scalar(found))
        if name == "created":
            return self._created(found)
        return Term(kind=kind, name=name, operator=found.operator, value=VALUES.get(name, _text)(found))

    def _kind(self, found: Comparison) -> tuple[NameKind, str]:
        name = found.name
        for prefix, kind in PREFIXES.items():
            if name.startswith(prefix) and len(name) > len(prefix):
                return kind, name.removeprefix(prefix)
        if name in FIELDS:
            return NameKind.FIELD, name
        if name in self.names.metrics:
            return NameKind.METRIC, name
        if name in self.names.parameters:
            return NameKind.PARAMETER, name
        known = [*FIELDS, *self.names.metrics, *self.names.parameters]
        rest = f"; an old parameter or metric is found as p.{name[:80]} or m.{name[:80]}"
        raise make_error(found.at, explain_unknown_name("field, parameter or metric", name, known) + rest)

    def _created(self, found: Comparison) -> Node:
        """Return a comparison of times. A day is equal to all its times; `7d` is the time 7 days ago."""
        if DAY.fullmatch(found.value):
            _check_operator(found, (*EQUAL, *ORDER))
            start = _moment(found)
            return _of_day(found.operator, clock.format_moment(start), clock.format_moment(start + timedelta(days=1)))
        _check_operator(found, ORDER)
        if amount := _amount(found.value):
            return _created(found.operator, clock.format_moment(self.now - timedelta(seconds=min(amount, 1e9))))
        return _created(found.operator, clock.format_moment(_moment(found)))


def _created(operator: str, value: str) -> Term:
    return Term(kind=NameKind.FIELD, name="created", operator=operator, value=value)


def _of_day(operator: str, start: str, end: str) -> Node:
    if bound := {"<": ("<", start), "<=": ("<", end), ">": (">=", end), ">=": (">=", start)}.get(operator):
        return _created(*bound)
    day = Joined(parts=(_created(">=", start), _created("<", end)), either=False)
    return day if operator == "=" else Not(part=day)


def _moment(found: Comparison) -> datetime:
    with suppress(ValueError):
        moment = datetime.fromisoformat(found.value)
        if moment.year in YEARS:
            return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    way_out = "write 2026-11-30, 2026-11-30T09:00 or, for 7 days ago, 7d"
    raise make_error(found.value_at, f'"{found.value[:80]}" is not a time: {way_out}')


def _scalar(found: Comparison) -> str | float:
    """Return the value of a parameter or metric: a number if it reads as one."""
    if found.operator == "~":
        return _glob(found)
    number = _as_number(found.value)
    if number is None and found.operator in ORDER:
        raise make_error(
            found.value_at, f'"{found.value[:80]}" is not a number, and {found.operator} compares numbers: use = or ~'
        )
    return found.value if number is None else number


def _text(found: Comparison) -> str:
    _check_operator(found, (*EQUAL, "~"))
    return _glob(found) if found.operator == "~" else found.value


def _group(found: Comparison) -> str | float:
    """Return the number of a task or pipeline, with or without its sign, or else its name."""
    _check_operator(found, (*EQUAL, "~"))
    number = _as_number(found.value.lstrip("!=#"))
    return _glob(found) if found.operator == "~" else found.value if number is None else number


def _glob(found: Comparison) -> str:
    """Return a pattern for GLOB. Without a wildcard it is found anywhere in the text."""
    pattern = found.value.lower()
    wildcards = sum(map(pattern.count, "*?["))
    if len(pattern) > MAX_PATTERN_CHARS or wildcards > MAX_WILDCARDS:
        raise make_error(
            found.value_at, f"a pattern has at most {MAX_PATTERN_CHARS} characters and {MAX_WILDCARDS} of * ? ["
        )
    return pattern if wildcards else f"*{pattern}*"


def _state(found: Comparison) -> str:
    _check_operator(found, EQUAL)
    state = STATES.get(found.value.lower())
    if state is None:
        raise make_error(found.value_at, explain_unknown_name("state", found.value, STATES))
    return state


def _number(found: Comparison) -> float:
    _check_operator(found, (*EQUAL, *ORDER))
    number = _as_number(found.value.removeprefix("#"))
    if number is None:
        raise make_error(found.value_at, f'"{found.value[:80]}" is not a number')
    return number


def _seconds(found: Comparison) -> float:
    _check_operator(found, ORDER)
    amount = _amount(found.value)
    if amount is None:
        raise make_error(found.value_at, f'"{found.value[:80]}" is not a duration: write 90s, 10m, 2h or 1d')
    return amount


def _amount(text: str) -> float | None:
    """Return seconds of an amount such as 10m; without a unit, of seconds."""
    found = AMOUNT.fullmatch(text.lower())
    return float(found[1]) * UNITS[found[2] or "s"] if found and (found[2] or "s") in UNITS else None


def _as_number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and "_" not in text else None


def _check_operator(found: Comparison, allowed: Sequence[str]) -> None:
    if found.operator not in allowed:
        raise make_error(
            found.at, f"{found.name} cannot be compared with {found.operator}: use {join_words(allowed, 'or')}"
        )


VALUES: dict[str, Callable[[Comparison], str | float]] = {
    "state": _state, "number": _number, "duration": _seconds, "task": _group, "pipeline": _group,
}  # fmt: skip
