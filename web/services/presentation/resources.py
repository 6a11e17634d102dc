"""Resource usage of an execution, reduced for drawing: one chart per kind, one line per device."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby

from core.units import format_size
from web.services.presentation import charts
from web.store import usage
from web.store.db import Database
from web.store.usage import Stretch

POINTS = 300
LEVELS = 5  # shades of a heat row
NARROWEST_US = 1_000_000
TITLES = {  # (title with one line, title with several)
    "cpu": ("CPU cores", ""),
    "memory": ("Memory", ""),
    "gpu": ("GPU", "{} GPUs"),
    "gpu_memory": ("GPU memory", "GPU memory"),
}
BYTES = frozenset({"memory", "gpu_memory"})


@dataclass(frozen=True, kw_only=True)
class ChartLine:
    """A series over the common `x`, and its last value as text.

    `heat` are, for the use of a GPU, the SVG paths of each shade, darkest last: a point is one wide.
    """

    number: int
    last: str
    y: list[float | None]
    heat: list[str]


@dataclass(frozen=True, kw_only=True)
class Resource:
    """A chart. `unit` is bytes, percent or "". `spark` is a polyline of its first line, for pages without scripts."""

    kind: str
    title: str
    unit: str
    last: str
    largest: str
    lines: list[ChartLine]
    spark: str


@dataclass(frozen=True, kw_only=True)
class Resources:
    """All charts of an execution. `x` are seconds since the start, common to all charts, `step_s` apart."""

    x: list[float]
    step_s: float
    charts: list[Resource]


def make_charts(db: Database, execution_id: int, start_us: int) -> Resources:
    """Return the charts of an execution that started at `start_us`; none before its first sample."""
    times = usage.find_time_span(db, execution_id)
    if times is None:
        return Resources(x=[], step_s=0, charts=[])
    first, end = times
    width = max(NARROWEST_US, math.ceil((end - first + 1) / POINTS))
    found = usage.list_stretches(db, execution_id, first, width)
    numbers = sorted({stretch.number for stretches in found.values() for stretch in stretches})
    x = [round((first + number * width - start_us) / 1e6, 1) for number in numbers]
    last_of = usage.get_latest(db, execution_id)
    made = [
        _resource(kind, x, numbers, found, last_of) for kind in TITLES if any(_kind(series) == kind for series in found)
    ]
    return Resources(x=x, step_s=width / 1e6, charts=made)


def _resource(
    kind: str,
    x: list[float],
    numbers: list[int],
    found: Mapping[str, list[Stretch]],
    last_of: Mapping[str, float],
) -> Resource:
    lines = []
    names = sorted((series for series in found if _kind(series) == kind), key=_number)
    for series in names:
        values = {stretch.number: stretch.mean for stretch in found[series]}
        y = [values.get(number) for number in numbers]
        lines.append(
            ChartLine(
                number=_number(series),
                last=format_measurement(kind, last_of[series]),
                y=y,
                heat=_heat(y) if kind == "gpu" else [],
            )
        )
    last = [last_of[series] for series in names]  # queried after the stretches: a sample may have arrived in between
    one, several = TITLES[kind]
    drawn = [(at, value) for at, value in zip(x, lines[0].y, strict=True) if value is not None]
    return Resource(
        kind=kind,
        title=one if len(names) == 1 else several.format(len(names)),
        unit="bytes" if kind in BYTES else "percent" if kind == "gpu" else "",
        last=_range(kind, last),
        largest=format_measurement(
            kind, max(*last, *(stretch.largest for series in names for stretch in found[series]))
        ),
        lines=lines,
        spark=charts.draw_polyline(drawn),
    )


def _heat(percentages: list[float | None]) -> list[str]:
    paths, at = [""] * LEVELS, 0
    levels = (None if value is None else max(0, min(LEVELS - 1, int(value * LEVELS / 100))) for value in percentages)
    for level, group in groupby(levels):
        length = len(list(group))
        if level is not None:
            paths[level] += f"M{at} 0h{length}v1h-{length}z"
        at += length
    return paths


def format_measurement(kind: str, value: float) -> str:
    """Format a value of this kind."""
    if kind in BYTES:
        return format_size(int(value))
    return f"{value:.0f} %" if kind == "gpu" else f"{value:.2f}"


def _range(kind: str, values: list[float]) -> str:
    low, high = format_measurement(kind, min(values)), format_measurement(kind, max(values))
    if low == high:
        return low
    number, _, unit = low.partition(" ")
    return f"{number if unit == high.partition(' ')[2] else low}\u2013{high}"


def _kind(series: str) -> str:
    return series.partition(":")[0]


def _number(series: str) -> int:
    return int(series.partition(":")[2] or 0)
