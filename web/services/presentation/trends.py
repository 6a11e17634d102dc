"""Series of one metric of many executions: a small line in each row of a table, and all lines in one chart.

The chart draws the lines of the rows again, each moved and scaled into the common range.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from web.services.presentation import formats

WIDTH, HEIGHT = 240, 48  # of a small line; it has a margin of MARGIN above and below
MARGIN = 3
TINY = 1e-300  # of a range, which is divided by
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


def trends(key: str, series: Mapping[int, Series]) -> Trends | None:
    """Return the lines of series with at least two points; None if there are none, or if their range is not finite."""
    drawn = {of: pairs for of, pairs in series.items() if len(pairs) > 1}
    if not drawn:
        return None
    left, right, low, high = _range([pair for pairs in drawn.values() for pair in pairs])
    if math.isinf(high - low):
        return None
    x = CHART_WIDTH / ((right - left) or 1)
    y = (CHART_HEIGHT - 2 * MARGIN) / (high - low)
    lines: dict[int, Trend] = {}
    for of, pairs in drawn.items():
        first, last, lowest, highest = _range(pairs)
        wide, tall = (last - first) or 1, highest - lowest
        inner = HEIGHT - 2 * MARGIN
        points = " ".join(
            f"{WIDTH * (at - first) / wide:.0f},{MARGIN + inner * (highest - value) / tall:.0f}" for at, value in pairs
        )
        scale_x, scale_y = x * wide / WIDTH, y * tall / inner
        move_x, move_y = x * (first - left), MARGIN + y * (high - highest) - MARGIN * scale_y
        transform = f"translate({move_x:.1f} {move_y:.1f}) scale({scale_x:.4g} {scale_y:.4g})"
        lines[of] = Trend(points=points, transform=transform)
    values = [value for pairs in drawn.values() for _, value in pairs]
    return Trends(key=key, low=formats.number(min(values)), high=formats.number(max(values)), lines=lines)


def _range(pairs: Series) -> tuple[float, float, float, float]:
    """Return the first and the last x, and a range of y that is not empty."""
    low, high = min(y for _, y in pairs), max(y for _, y in pairs)
    if high - low < TINY:
        low, high = low - (abs(low) or 1) / 1e6 - TINY, high + (abs(high) or 1) / 1e6 + TINY
    return pairs[0][0], max(x for x, _ in pairs), low, high
