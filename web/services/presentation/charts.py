"""The series of one metadata key, small enough to draw, and sparklines for pages without scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from web.config import metadata as rules
from web.store import metadata
from web.store.db import Database
from web.store.metadata import Point

CHART_POINTS = 1000
SPARK_POINTS = 120
SPARK_WIDTH, SPARK_HEIGHT, SPARK_MARGIN = 120, 24, 2
X_KEYS = ("step", "global_step", "iteration", "epoch")  # what people count by, in this order of preference
BY_NUMBER, BY_TIME = "number", "time"


@dataclass(frozen=True, kw_only=True)
class Axis:
    """What a chart's x axis is: the number of the metadata line, the time since a start, or another key."""

    by: str
    start_us: int = 0


def axis_key(latest: Mapping[str, Any]) -> str | None:
    """The key of an execution that its charts are drawn over, if it prints one of the usual ones."""
    names = {name.lower(): name for name, value in latest.items() if rules.number(value) is not None}
    return next((names[key] for key in X_KEYS if key in names), None)


def series(db: Database, execution_id: int, key: str, axis: Axis) -> dict[str, Any]:
    """What a chart draws: `x`, `y` and `seq` in parallel, how many `points` were printed, and how many are `kept`.

    Beyond CHART_POINTS the smallest and the largest of each stretch stand for it.
    """
    found, counts = metadata.extremes(db, execution_id, key, CHART_POINTS)
    xs = _xs(db, execution_id, found, axis)
    drawn = [(x, point) for x, point in zip(xs, found, strict=True) if x is not None]
    drawn.sort(key=lambda pair: pair[0])  # people count epochs anew, and a line must not run backwards
    return {
        "x": [x for x, _ in drawn],
        "y": [point.value for _, point in drawn],
        "seq": [point.seq for _, point in drawn],
        "points": counts.points,
        "kept": counts.kept,
    }


def sparkline(db: Database, execution_id: int, key: str) -> str:
    """The `points` of an SVG polyline within SPARK_WIDTH by SPARK_HEIGHT; empty below two numbers."""
    found, _ = metadata.extremes(db, execution_id, key, SPARK_POINTS)
    return polyline([(point.seq, point.value) for point in found])


def polyline(values: Sequence[tuple[float, float]]) -> str:
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


def _xs(db: Database, execution_id: int, found: Sequence[Point], axis: Axis) -> list[float | None]:
    if axis.by == BY_NUMBER:
        return [point.seq for point in found]
    if axis.by == BY_TIME:
        return [(point.time_us - axis.start_us) / 1e6 for point in found]
    values = metadata.values_at(db, execution_id, axis.by, [point.seq for point in found])
    return [rules.number(values.get(point.seq)) for point in found]
