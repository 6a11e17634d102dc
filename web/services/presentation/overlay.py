"""Drawings of several executions in one chart: series as lines, and a scatter of two values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from web.services.presentation import formats

WIDTH, HEIGHT = 480, 200
LEFT, RIGHT, TOP, BOTTOM = 68, 28, 10, 24
Pairs = Sequence[tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class OverlayDrawing:
    """Shapes by index of the execution: `lines` are the points of polylines, `dots` are positions.

    `x_ticks` and `y_ticks` are (position, text).
    """

    lines: tuple[tuple[int, str], ...] = ()
    dots: tuple[tuple[int, float, float], ...] = ()
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class _AxisScale:
    low: float
    high: float
    start: float
    end: float

    @classmethod
    def from_values(cls, values: Sequence[float], start: float, end: float) -> _AxisScale:
        return cls(min(values), max(values), start, end)

    def place(self, value: float) -> float:
        half = (self.high / 2 - self.low / 2) or 1  # halves, since a difference may be too large for a float
        share = (value / 2 - self.low / 2) / half if self.high > self.low else 0.5
        return round(self.start + (self.end - self.start) * share, 1)

    def ticks(self) -> tuple[tuple[float, str], ...]:
        middle = self.low / 2 + self.high / 2
        if self.low == int(self.low) and self.high == int(self.high):
            middle = round(middle)
        marks = (self.low, middle, self.high) if self.high > self.low else (self.low,)
        return tuple((self.place(mark), formats.format_number(mark)) for mark in marks)


def draw_lines(series: Mapping[int, Pairs]) -> OverlayDrawing | None:
    """Draw the series of several executions in one chart. Returns None if they have no points."""
    if not any(series.values()):
        return None
    x, y = _scales([pair for pairs in series.values() for pair in pairs])
    drawn = tuple(
        (index, " ".join(f"{x.place(at):g},{y.place(value):g}" for at, value in _wide(pairs)))
        for index, pairs in series.items()
        if pairs
    )
    return OverlayDrawing(lines=drawn, x_ticks=x.ticks(), y_ticks=y.ticks())


def draw_scatter(xs: Sequence[float | None], ys: Sequence[float | None]) -> OverlayDrawing | None:
    """Return the scatter of two values of each execution; None if no execution has both."""
    found = [(i, x, y) for i, (x, y) in enumerate(zip(xs, ys, strict=True)) if x is not None and y is not None]
    if not found:
        return None
    x, y = _scales([pair for _, *pair in found])
    dots = tuple((index, x.place(at), y.place(value)) for index, at, value in found)
    return OverlayDrawing(dots=dots, x_ticks=x.ticks(), y_ticks=y.ticks())


def _scales(pairs: Sequence[Sequence[float]]) -> tuple[_AxisScale, _AxisScale]:
    return (
        _AxisScale.from_values([x for x, _ in pairs], LEFT, WIDTH - RIGHT),
        _AxisScale.from_values([y for _, y in pairs], HEIGHT - BOTTOM, TOP),
    )


def _wide(pairs: Pairs) -> Pairs:
    """Return a single point twice: a line of one point is not drawn."""
    return [*pairs, *pairs] if len(pairs) == 1 else pairs
