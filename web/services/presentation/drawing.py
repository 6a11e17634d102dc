"""Lay out the graph of a pipeline as boxes and curves: layers from left to right, curves that pass between boxes.

Drawn by the server as SVG of bounded size, like `web.services.presentation.parallel`. An open page fetches the whole
drawing again and replaces it (`static/refresh.js`).
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

BOX_WIDTH, BOX_HEIGHT = 188, 52
GAP_X, GAP_Y = 56, 18
LANE = 16  # height of the gap where a curve passes a layer
MARGIN = 4
SWEEPS = 4  # over all layers, to bring neighbours close together
EDGES = 500  # further edges are not drawn
LANES = 2000  # with more than these, curves pass behind boxes

Edge = tuple[str, str]
Place = str | tuple[Edge, int]  # a node, or where an edge passes a layer


@dataclass(frozen=True, kw_only=True)
class Box:
    """A node; `x` and `y` are its upper left corner."""

    name: str
    x: float
    y: float


@dataclass(frozen=True, kw_only=True)
class Curve:
    source: str
    target: str
    path: str


@dataclass(frozen=True, kw_only=True)
class GraphDrawing:
    """A laid out graph; `left_out` is the number of edges that are not drawn."""

    width: float
    height: float
    boxes: tuple[Box, ...]
    curves: tuple[Curve, ...]
    left_out: int


def draw(layers: Sequence[Sequence[str]], edges: Sequence[Edge]) -> GraphDrawing:
    """Lay out a graph whose edges go from a layer to a later one.

    1. An edge gets a lane in each layer that it passes.
    2. Sweeps order each layer by the positions of the neighbours in the previous, or next, layer; the best order is
       kept.
    3. Each layer is stacked and centred, and curves connect the places.
    """
    distinct = list(dict.fromkeys(edges))
    drawn = distinct[:EDGES]
    layer_of = {name: i for i, names in enumerate(layers) for name in names}
    chains = {edge: _chain(edge, layer_of) for edge in drawn}
    if sum(map(len, chains.values())) > LANES:
        chains = {edge: list(edge) for edge in drawn}
    columns = _ordered(_columns(layers, layer_of, chains), list(chains.values()))
    middles, height = _stack(columns)
    boxes = [
        Box(name=name, x=_left(i), y=middles[name] - BOX_HEIGHT / 2) for i, names in enumerate(layers) for name in names
    ]
    curves = [
        Curve(source=source, target=target, path=_path(chain, layer_of[source], layer_of[target], middles))
        for (source, target), chain in chains.items()
    ]
    width = _left(len(layers)) - GAP_X + MARGIN
    left_out = len(distinct) - len(drawn)
    return GraphDrawing(width=width, height=height, boxes=tuple(boxes), curves=tuple(curves), left_out=left_out)


def _left(layer: int) -> float:
    return MARGIN + layer * (BOX_WIDTH + GAP_X)


def _chain(edge: Edge, layer_of: Mapping[str, int]) -> list[Place]:
    """Return the places of an edge, one in each layer."""
    source, target = edge
    return [source, *((edge, layer) for layer in range(layer_of[source] + 1, layer_of[target])), target]


def _columns(
    layers: Sequence[Sequence[str]], layer_of: Mapping[str, int], chains: Mapping[Edge, Sequence[Place]]
) -> list[list[Place]]:
    """Return the places of each layer: its nodes, then the lanes."""
    columns: list[list[Place]] = [list(names) for names in layers]
    for (source, _), chain in chains.items():
        for i, place in enumerate(chain[1:-1], layer_of[source] + 1):
            columns[i].append(place)
    return columns


def _ordered(columns: list[list[Place]], chains: Sequence[Sequence[Place]]) -> list[list[Place]]:
    """Reorder the places: of the orders reached by sweeps from several starts, choose the one with fewest crossings."""
    before: dict[Place, list[Place]] = {}
    behind: dict[Place, list[Place]] = {}
    for chain in chains:
        for here, there in pairwise(chain):
            behind.setdefault(here, []).append(there)
            before.setdefault(there, []).append(here)
    looked_at = [columns]
    lanes_first = [sorted(column, key=lambda place: isinstance(place, str)) for column in columns]
    for start in (columns, lanes_first, [column[::-1] for column in columns]):
        now = start
        for sweep in range(SWEEPS):
            now = _swept(now, before) if sweep % 2 == 0 else _swept(now[::-1], behind)[::-1]
            looked_at.append(now)
    return min(looked_at, key=lambda candidate: _crossings(candidate, behind))


def _swept(columns: Sequence[list[Place]], neighbours: Mapping[Place, Sequence[Place]]) -> list[list[Place]]:
    """Order each layer by the positions of its neighbours in the layers ordered before it."""
    at: dict[Place, float] = {}
    swept = []
    for column in columns:
        here = {place: i / max(1, len(column) - 1) for i, place in enumerate(column)}
        means = {place: _mean(at, neighbours.get(place, ()), here[place]) for place in column}
        swept.append(sorted(column, key=means.__getitem__))
        at |= {place: i / max(1, len(column) - 1) for i, place in enumerate(swept[-1])}
    return swept


def _crossings(columns: Sequence[Sequence[Place]], behind: Mapping[Place, Sequence[Place]]) -> int:
    """Count crossings: pairs of curves of which one starts above the other and ends below it."""
    found = 0
    at = {place: i for column in columns for i, place in enumerate(column)}
    for column in columns:
        ends: list[int] = []
        for place in column:
            for end in sorted((at[there] for there in behind.get(place, ())), reverse=True):
                found += len(ends) - bisect_right(ends, end)
            for there in behind.get(place, ()):
                insort(ends, at[there])
    return found


def _mean(at: Mapping[Place, float], neighbours: Sequence[Place], here: float) -> float:
    """Return the mean position of a place's neighbours; `here` if it has none."""
    return sum(at[other] for other in neighbours) / len(neighbours) if neighbours else here


def _stack(columns: Sequence[Sequence[Place]]) -> tuple[dict[Place, float], float]:
    """Return the vertical middle of each place, and the height of the drawing."""
    tallest = max((_height(column) for column in columns), default=0)
    middles: dict[Place, float] = {}
    for column in columns:
        y = MARGIN + (tallest - _height(column)) / 2
        for place in column:
            middles[place] = y + _tall(place) / 2
            y += _tall(place) + GAP_Y
    return middles, tallest + 2 * MARGIN


def _height(column: Sequence[Place]) -> float:
    return sum(map(_tall, column)) + GAP_Y * (len(column) - 1)


def _tall(place: Place) -> float:
    return BOX_HEIGHT if isinstance(place, str) else LANE


def _path(chain: Sequence[Place], first: int, last: int, middles: Mapping[Place, float]) -> str:
    """Return the SVG path from the right of a box to the left of another: curved between layers, straight across."""
    layers = range(first, last + 1) if len(chain) == last - first + 1 else (first, last)
    parts = [f"M{_left(first) + BOX_WIDTH:.0f} {middles[chain[0]]:.1f}"]
    for (here, there), (_, layer) in zip(pairwise(chain), pairwise(layers), strict=True):
        x, y = _left(layer), middles[there]
        bend = GAP_X / 2
        start = x - GAP_X if len(chain) > 2 else _left(first) + BOX_WIDTH
        parts.append(f"C{start + bend:.0f} {middles[here]:.1f} {x - bend:.0f} {y:.1f} {x:.0f} {y:.1f}")
        if layer != last:
            parts.append(f"H{x + BOX_WIDTH:.0f}")
    return " ".join(parts)
