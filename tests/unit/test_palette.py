"""The colours of runs can be told apart in both themes, also by colour-blind people."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path

import pytest

CSS = Path(__file__).parents[2] / "web" / "static" / "pushmill.css"
SERIES = re.compile(r"^\.series-\d \{ color: light-dark\(#([0-9a-f]{6}), #([0-9a-f]{6})\); \}$", re.MULTILINE)
APART = 0.07  # in OKLab, where 0.02 is a difference that is just noticed
# What linear RGB becomes without one kind of cone: Machado, Oliveira and Fernandes, 2009.
SIGHT = {
    "full": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": ((0.1523, 1.0526, -0.2049), (0.1145, 0.7863, 0.0992), (-0.0039, -0.0481, 1.0520)),
    "deuteranopia": ((0.3673, 0.8606, -0.2280), (0.2801, 0.6725, 0.0474), (-0.0118, 0.0429, 0.9689)),
    "tritanopia": ((1.2555, -0.0767, -0.1788), (-0.0784, 0.9308, 0.1476), (0.0047, 0.6914, 0.3039)),
}
CONES = ((0.4122, 0.5363, 0.0514), (0.2119, 0.6807, 0.1074), (0.0883, 0.2817, 0.6300))
OKLAB = ((0.2105, 0.7936, -0.0041), (1.9780, -2.4286, 0.4506), (0.0259, 0.7828, -0.8087))
Vector = tuple[float, ...]


def times(matrix: tuple[Vector, ...], vector: Vector) -> Vector:
    return tuple(sum(a * b for a, b in zip(line, vector, strict=True)) for line in matrix)


def linear(colour: str) -> Vector:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    return tuple(part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)


def seen(colour: str, sight: tuple[Vector, ...]) -> Vector:
    """The colour in OKLab as it is seen."""
    rgb = tuple(min(1.0, max(0.0, part)) for part in times(sight, linear(colour)))
    return times(OKLAB, tuple(part ** (1 / 3) for part in times(CONES, rgb)))


@pytest.mark.parametrize("sight", sorted(SIGHT))
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_runs_are_told_apart_by_colour(theme: str, sight: str) -> None:
    colours = [pair[theme == "dark"] for pair in SERIES.findall(CSS.read_text())]
    assert len(colours) == 8
    for one, other in combinations(colours, 2):
        pairs = zip(seen(one, SIGHT[sight]), seen(other, SIGHT[sight]), strict=True)
        assert sum((a - b) ** 2 for a, b in pairs) ** 0.5 > APART, (one, other)
