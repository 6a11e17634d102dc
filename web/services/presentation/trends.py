"""Series of one metric of many executions: a small line in each row of a table, and all lines in one chart.

The chart draws the lines of the rows again, each moved and scaled into the common range.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from web.services.presentation import formats

WIDTH, HEIGHT = 240, 48  # size of a small line; it has a margin of MARGIN above and below
MARGIN = 3
TINY = 1e-300  # smallest range, since it is a divisor
CHART_WIDTH, CHART_HEIGHT = 1200, 160
Series = Sequence[tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class Trend:
    """The points of a line in its own range, and the transformation into the range of all."""

    points: str
    transform: str


@dataclass(frozen=True, kw_only=True)
class Trends:
    """Lines by id; `low` and `high` are the range of all as text."""

    key: str
    low: str
    high: str
    lines: Mapping[int, Trend]


class _Range(NamedTuple):
    left: float
    right: float
    low: float
    high: float


def draw_trends(key: str, series: Mapping[int, Series]) -> Trends | None:
    """Return the lines of series with at least two points; None if there are none, or if their range is not finite."""
    drawn = {of: pairs for of, pairs in series.items() if len(pairs) > 1}
    if not drawn:
        return None
    ranges = {of: _range(pairs) for of, pairs in drawn.items()}
    left, right = min(one.left for one in ranges.values()), max(one.right for one in ranges.values())
    lowest, highest = min(one.low for one in ranges.values()), max(one.high for one in ranges.values())
    low, high = _apart(lowest, highest)
    if math.isinf(high - low):
        return None
    x = CHART_WIDTH / ((right - left) or 1)
    y = (CHART_HEIGHT - 2 * MARGIN) / (high - low)
    lines: dict[int, Trend] = {}
    for of, pairs in drawn.items():
        first, (bottom, top) = ranges[of].left, _apart(ranges[of].low, ranges[of].high)
        wide, tall, inner = (ranges[of].right - first) or 1, top - bottom, HEIGHT - 2 * MARGIN
        points = " ".join(
            [f"{WIDTH * (at - first) / wide:.0f},{MARGIN + inner * (top - value) / tall:.0f}" for at, value in pairs]
        )
        scale_x, scale_y = x * wide / WIDTH, y * tall / inner
        move_x, move_y = x * (first - left), MARGIN + y * (high - top) - MARGIN * scale_y
        transform = f"translate({move_x:.1f} {move_y:.1f}) scale({scale_x:.4g} {scale_y:.4g})"
        lines[of] = Trend(points=points, transform=transform)
    return Trends(key=key, low=formats.format_number(lowest), high=formats.format_number(highest), lines=lines)


def _range(pairs: Series) -> _Range:
    ys = [y for _, y in pairs]
    return _Range(pairs[0][0], pairs[-1][0], min(ys), max(ys))


def _apart(low: float, high: float) -> tuple[float, float]:
    """Return a range that is not empty."""
    if high - low < TINY:
        return low - (abs(low) or 1) / 1e6 - TINY, high + (abs(high) or 1) / 1e6 + TINY
    return low, high
