"""Parallel coordinates of a task: an axis for each parameter and the metric, a line for each execution."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from web.config.metadata import to_number
from web.services.presentation import formats
from web.services.presentation.objective import Objective
from web.store.trials import Trial

WIDTH, HEIGHT = 640, 240
LEFT, RIGHT, TOP, BOTTOM = 48, 60, 36, 12  # margins of the drawing, for labels of the axes
LINES = 200
AXES = 7  # most axes of parameters
SHADES = 5
TICKS = 6
TICK_GAP = 13  # so that labels do not overlap
LOG_RATIO = 50  # values that span more than this ratio are drawn on a logarithmic scale
NAME_CHARS, TICK_CHARS = 16, 9
CHAR_WIDTH = 8


@dataclass(frozen=True, kw_only=True)
class ParallelAxis:
    """An axis; `ticks` are (y, text)."""

    name: str
    x: float
    ticks: tuple[tuple[float, str], ...]


@dataclass(frozen=True, kw_only=True)
class ParallelLine:
    """An execution. `shade` is from 0, the worst, to SHADES - 1; `best` marks the best of all."""

    trial: Trial
    points: str
    shade: int
    best: bool


@dataclass(frozen=True, kw_only=True)
class Parallel:
    """The drawing; the best lines are on top.

    `left_out` is the number of executions with a value that are not drawn, since they are worse than the drawn ones.
    Names of axes are cut to `name_chars`.
    """

    axes: tuple[ParallelAxis, ...]
    lines: tuple[ParallelLine, ...]
    left_out: int
    name_chars: int


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Positions of an axis's values, and its ticks."""

    place: Callable[[Any], float]
    ticks: tuple[tuple[float, str], ...]


def draw_chart(goal: Objective, found: Sequence[Trial], parameters: Sequence[str]) -> Parallel | None:
    """Return the drawing; None if there is nothing to compare: fewer than two values, or no parameters."""
    valued = sorted((trial for trial in found if trial.number is not None), key=lambda trial: _cost(goal, trial))
    drawn, names = valued[:LINES], list(parameters[:AXES])
    if len(drawn) < 2 or not names:
        return None
    columns = [[trial.parameters.get(name) for trial in drawn] for name in names]
    columns.append([trial.number for trial in drawn])
    scales = [_scale(column) for column in columns]
    gap = (WIDTH - LEFT - RIGHT) / len(names)
    xs = [LEFT + gap * i for i in range(len(columns))]
    lines = [
        ParallelLine(
            trial=trial,
            points=" ".join(f"{x:.1f},{s.place(c[i]):.1f}" for x, s, c in zip(xs, scales, columns, strict=True)),
            shade=SHADES - 1 - i * SHADES // len(drawn),
            best=i == 0,
        )
        for i, trial in enumerate(drawn)
    ]
    labels = [*names, goal.key]
    axes = [ParallelAxis(name=n, x=round(x, 1), ticks=s.ticks) for n, x, s in zip(labels, xs, scales, strict=True)]
    chars = min(NAME_CHARS, int(gap / CHAR_WIDTH))
    left_out = len(valued) - len(drawn)
    return Parallel(axes=tuple(axes), lines=tuple(reversed(lines)), left_out=left_out, name_chars=chars)


def shorten_text(text: str, most: int) -> str:
    """Return text cut to at most `most` characters."""
    shown = formats.to_one_line(text)
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"


def _cost(goal: Objective, trial: Trial) -> float:
    assert trial.number is not None  # noqa: S101  (the caller's filter)
    return goal.cost(trial.number)


def _scale(values: Sequence[Any]) -> Scale:
    numbers = [to_number(value) if not isinstance(value, str) else None for value in values]
    known = [value for value in numbers if value is not None]
    return _numeric(known) if len(known) == len(values) else _words(values)


def _numeric(values: Sequence[float]) -> Scale:
    low, high = min(values), max(values)
    logarithmic = low > 0 and high / low > LOG_RATIO
    bend: Callable[[float], float] = math.log if logarithmic else float
    span = bend(high) - bend(low)
    spread = 0 < span < math.inf

    def place(value: Any) -> float:
        return _y((bend(value) - bend(low)) / span if spread else 0.5)

    distinct = sorted(set(values))
    middle = math.sqrt(low) * math.sqrt(high) if logarithmic else low / 2 + high / 2
    marks = distinct if len(distinct) <= TICKS else [low, middle, high]
    return Scale(place=place, ticks=_apart([(place(mark), formats.format_number(mark)) for mark in marks]))


def _words(values: Sequence[Any]) -> Scale:
    """Return a scale of words in the given order; the best execution's is at the top."""
    texts = list(dict.fromkeys(_text(value) for value in values))
    places = {text: _y(1 - i / (len(texts) - 1) if len(texts) > 1 else 0.5) for i, text in enumerate(texts)}
    ticks = [(places[text], shorten_text(text, TICK_CHARS)) for text in texts]
    return Scale(place=lambda value: places[_text(value)], ticks=_apart(ticks))


def _text(value: Any) -> str:
    return "none" if value is None else formats.format_value(value)


def _y(share: float) -> float:
    """Return the y coordinate of a share of an axis; 0 is the bottom."""
    return round(TOP + (HEIGHT - TOP - BOTTOM) * (1 - share), 1)


def _apart(ticks: Sequence[tuple[float, str]]) -> tuple[tuple[float, str], ...]:
    """Remove ticks that are too close to the previous one."""
    kept: list[tuple[float, str]] = []
    for y, text in ticks:
        if not kept or abs(kept[-1][0] - y) >= TICK_GAP:
            kept.append((y, text))
    return tuple(kept)
