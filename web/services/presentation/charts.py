"""Series of a metadata key reduced for drawing, and sparklines for pages without scripts."""

from __future__ import annotations

import heapq
import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby, repeat
from operator import attrgetter
from typing import Any

from core import clock
from core.model import Execution
from web.config import metadata as rules
from web.services.presentation import execution_status, formats, headline
from web.store import metadata, metadata_of_many
from web.store.db import Database
from web.store.metadata_chunks import Point

CHART_POINTS = 1000
SPARK_POINTS = 120
SPARK_WIDTH, SPARK_HEIGHT, SPARK_MARGIN = 120, 24, 2
BAR_STEP, BAR_HEIGHT, BAR_LEAST = 10, 32, 4
X_KEYS = ("step", "global_step", "iteration", "epoch")  # usual counters, in order of preference
BY_NUMBER, BY_TIME = "number", "time"


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A bar of BAR_STEP by BAR_HEIGHT at most, whose upper left corner is at `x` and `y`."""

    execution: Execution
    x: int
    y: float
    height: float


@dataclass(frozen=True, kw_only=True)
class Axis:
    """The x axis of a chart: the number of the metadata line, the time since `start_us`, or another key."""

    by: str
    start_us: int = 0


def choose_axis(latest: Mapping[str, Any]) -> str | None:
    """Return the metadata key to use as x axis, if the execution prints one of X_KEYS."""
    names = {name.lower(): name for name, value in latest.items() if rules.to_number(value) is not None}
    return next((names[key] for key in X_KEYS if key in names), None)


def compute_start_us(execution: Execution) -> int:
    """Return the start of the time axis of its charts, in microseconds."""
    return int(clock.parse(execution.started_at or execution.created_at).timestamp() * 1e6)


def get_series(db: Database, execution_id: int, key: str, axis: Axis) -> dict[str, Any]:
    """Return the data of a chart: parallel lists `x`, `y` and `seq`, and how many `points` were printed and `kept`.

    Beyond CHART_POINTS, each stretch is represented by its smallest and largest value.
    """
    found, counts = metadata.list_extremes(db, execution_id, key, CHART_POINTS)
    return {**_drawn(db, execution_id, found, axis), "points": counts.points, "kept": counts.kept}


def get_series_part(db: Database, execution_id: int, key: str, axis: Axis, lines: range) -> dict[str, Any]:
    """Return the same lists `x`, `y` and `seq` of some metadata lines, for a chart that is zoomed."""
    found = metadata.list_extremes_between(db, execution_id, key, CHART_POINTS, lines)
    return _drawn(db, execution_id, found, axis)


def _drawn(db: Database, execution_id: int, found: Sequence[Point], axis: Axis) -> dict[str, list[Any]]:
    xs = _xs(db, execution_id, found, axis)
    drawn = [(x, point) for x, point in zip(xs, found, strict=True) if x is not None]
    drawn.sort(key=lambda pair: pair[0])  # epochs may restart from 0, and a line must not run backwards
    return {
        "x": [x for x, _ in drawn],
        "y": [point.value for _, point in drawn],
        "seq": [point.seq for _, point in drawn],
    }


def list_series_by_execution(
    db: Database, found: Sequence[Execution], key: str, by: str, parts: int
) -> dict[int, list[tuple[float, float]]]:
    """Return (x, y) of few points of a metric by execution id; `by` is BY_NUMBER, BY_TIME or the key of the x axis.

    Only few values of that key are read: it is interpolated between them.
    """
    ids = [execution.id for execution in found]
    series = metadata_of_many.map_series(db, ids, key, parts)
    if by == BY_NUMBER:
        return {of: [(point.seq, point.value) for point in points] for of, points in series.items()}
    if by == BY_TIME:
        starts = {execution.id: compute_start_us(execution) for execution in found}
        return {
            of: [((point.time_us - starts[of]) / 1e6, point.value) for point in points] for of, points in series.items()
        }
    counted = metadata_of_many.map_series(db, ids, by, parts)
    placed = {of: [(_between(counted.get(of, ()), point.seq), point.value) for point in series[of]] for of in series}
    return {of: sorted((x, y) for x, y in pairs if x is not None) for of, pairs in placed.items()}


def _between(points: Sequence[Point], seq: int) -> float | None:
    """Return the value of a series at a metadata line, None before its first and after its last one."""
    at = bisect_left(points, seq, key=attrgetter("seq"))
    if at < len(points) and points[at].seq == seq:
        return float(points[at].value)
    if not 0 < at < len(points):
        return None
    before, after = points[at - 1], points[at]
    return float(before.value + (after.value - before.value) * (seq - before.seq) / (after.seq - before.seq))


def iterate_rows(keys: Sequence[str], series: Sequence[Iterable[Point]]) -> Iterator[list[Any]]:
    """Yield a table of series: a heading, then a row for each metadata line, with its number and time."""
    yield ["index", "time", *keys]
    columns = [zip(repeat(place), points, strict=False) for place, points in enumerate(series)]
    for seq, group in groupby(heapq.merge(*columns, key=_seq), _seq):
        cells: list[Any] = [None] * len(keys)
        for place, point in group:
            cells[place] = formats.format_full_value(point.value)
            time_us = point.time_us
        yield [seq, clock.format_moment(datetime.fromtimestamp(time_us / 1e6, UTC)), *cells]


def _seq(found: tuple[int, Point]) -> int:
    return found[1].seq


def draw_main_sparkline(db: Database, execution_id: int, latest: Mapping[str, Any]) -> str:
    """Return the sparkline of the most important number."""
    key = headline.choose(latest)
    return draw_sparkline(db, execution_id, key) if key is not None else ""


def draw_sparkline(db: Database, execution_id: int, key: str) -> str:
    """Return the `points` of an SVG polyline of SPARK_WIDTH by SPARK_HEIGHT; "" for fewer than two numbers."""
    found, _ = metadata.list_extremes(db, execution_id, key, SPARK_POINTS)
    return draw_polyline([(point.seq, point.value) for point in found])


def draw_polyline(values: Sequence[tuple[float, float]]) -> str:
    if len(values) < 2:
        return ""
    left, right = values[0][0], values[-1][0]
    low, high = min(y for _, y in values), max(y for _, y in values)
    wide, tall = SPARK_WIDTH - 2 * SPARK_MARGIN, SPARK_HEIGHT - 2 * SPARK_MARGIN
    return " ".join(
        f"{SPARK_MARGIN + wide * (x - left) / ((right - left) or 1):.1f},"
        f"{SPARK_MARGIN + tall * ((high - y) / (high - low) if high > low else 0.5):.1f}"
        for x, y in values
    )


def draw_bars(found: Sequence[Execution]) -> list[Bar]:
    """Return a bar for each execution: as high as its duration, in relation to the longest; low before its start."""
    ran = [execution_status.compute_run_seconds(execution) or 0.0 for execution in found]
    longest, tall = max(ran, default=0.0) or 1.0, BAR_HEIGHT - BAR_LEAST
    heights = [BAR_LEAST + tall * math.sqrt(max(0.0, seconds) / longest) for seconds in ran]
    return [
        Bar(execution=execution, x=index * BAR_STEP, y=round(BAR_HEIGHT - height, 1), height=round(height, 1))
        for index, (execution, height) in enumerate(zip(found, heights, strict=True))
    ]


def _xs(db: Database, execution_id: int, found: Sequence[Point], axis: Axis) -> list[float | None]:
    if axis.by == BY_NUMBER:
        return [point.seq for point in found]
    if axis.by == BY_TIME:
        return [(point.time_us - axis.start_us) / 1e6 for point in found]
    values = metadata.get_values_at(db, execution_id, axis.by, [point.seq for point in found])
    return [rules.to_number(values.get(point.seq)) for point in found]
