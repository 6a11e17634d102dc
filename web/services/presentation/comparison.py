"""Differences between executions, the baseline first: parameters, metrics and what they were made from."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.model import Commit, Execution
from web.config.metadata import to_number
from web.services.presentation import formats, headline

PARAMETER, METRIC, ORIGIN = "parameter", "metric", "origin"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """The value of an execution, None if it has none; `change` is its difference to the baseline's number."""

    value: Any
    change: str = ""
    best: bool = False


@dataclass(frozen=True, kw_only=True)
class ComparedLine:
    """One name with the value of each execution; `kind` is PARAMETER, METRIC or ORIGIN."""

    name: str
    kind: str
    cells: tuple[Cell, ...]

    @property
    def differs(self) -> bool:
        return len({json.dumps(cell.value, sort_keys=True) for cell in self.cells}) > 1


def compare_executions(
    found: Sequence[Execution], commits: Mapping[int, Commit], latest: Mapping[int, Mapping[str, Any]]
) -> list[ComparedLine]:
    """Return all lines of a comparison; the first execution is the baseline."""
    parameters = list(dict.fromkeys(name for execution in found for name in execution.parameters))
    all_latest = [latest.get(execution.id, {}) for execution in found]
    metrics = list(dict.fromkeys(key for values in all_latest for key in values))
    ranked = headline.rank_keys(dict.fromkeys(metrics, 0))
    return [
        *(_line(name, PARAMETER, [execution.parameters.get(name) for execution in found]) for name in parameters),
        *(_metric(key, [values.get(key) for values in all_latest]) for key in ranked),
        *(_line(name, ORIGIN, [of(e, commits[e.commit_id]) for e in found]) for name, of in ORIGINS.items()),
    ]


def map_numbers_by_name(found: Sequence[ComparedLine]) -> dict[str, list[float | None]]:
    """Return the parameters and metrics with numbers, and their numbers, by "p." or "m." and the name."""
    result: dict[str, list[float | None]] = {}
    for line in found:
        values = [None if isinstance(cell.value, str | bool) else to_number(cell.value) for cell in line.cells]
        if line.kind != ORIGIN and any(value is not None for value in values):
            result[("p." if line.kind == PARAMETER else "m.") + line.name] = values
    return result


def _line(name: str, kind: str, values: Sequence[Any]) -> ComparedLine:
    return ComparedLine(name=name, kind=kind, cells=tuple(Cell(value=value) for value in values))


def _metric(key: str, values: Sequence[Any]) -> ComparedLine:
    numbers = [None if isinstance(value, str) else to_number(value) for value in values]
    known = [number for number in numbers if number is not None]
    best = None
    if len(set(known)) > 1 and not headline.is_counter(key):
        best = min(known) if headline.less_is_better(key) else max(known)
    cells = [
        Cell(value=value, change=_change(number, numbers[0]), best=number is not None and number == best)
        for value, number in zip(values, numbers, strict=True)
    ]
    return ComparedLine(name=key, kind=METRIC, cells=tuple(cells))


def _change(number: float | None, before: float | None) -> str:
    if number is None or before is None or number == before:
        return ""
    return formats.format_difference(number - before)


ORIGINS: dict[str, Callable[[Execution, Commit], Any]] = {
    "step": lambda e, _: e.step,
    "commit": lambda _, commit: f"{commit.identifier[:8]} {formats.extract_subject(commit.message)}",
    "branch": lambda _, commit: None if commit.adhoc else commit.ref,
    "image": lambda e, _: e.image,
    "image digest": lambda e, _: e.image_digest,
    "commands": lambda e, _: " && ".join(e.commands),
    "inputs": lambda e, _: dict(e.inputs) or None,
    "environment": lambda e, _: e.environment,
    "GPUs": lambda e, _: e.gpus,
    "who": lambda e, _: e.creator,
}
