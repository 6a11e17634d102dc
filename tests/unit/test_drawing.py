"""Graphs of pipelines: boxes do not overlap, curves connect boxes, and the size is bounded."""

from __future__ import annotations

import random
import re
import time
from itertools import combinations

import pytest

from web.services.presentation.drawing import BOX_HEIGHT, BOX_WIDTH, EDGES, Box, GraphDrawing, draw

DIAMOND = ((("a",), ("b", "c"), ("d",)), [("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")])


def layered(edges: list[tuple[str, str]], names: list[str]) -> list[list[str]]:
    depth = dict.fromkeys(names, 0)
    for _ in names:
        for source, target in edges:
            depth[target] = max(depth[target], depth[source] + 1)
    return [[name for name in names if depth[name] == i] for i in range(max(depth.values()) + 1)]


def some_graph(seed: int) -> GraphDrawing:
    chance = random.Random(seed)
    names = [f"n{i}" for i in range(chance.randint(1, 30))]
    edges = [pair for pair in combinations(names, 2) if chance.random() < 0.15]
    return draw(layered(edges, names), edges)


def overlap(one: Box, other: Box) -> bool:
    return abs(one.x - other.x) < BOX_WIDTH and abs(one.y - other.y) < BOX_HEIGHT


def passes(path: str, box: Box) -> bool:
    """Whether a curve crosses a box: a straight piece of it, or a bent one that is longer than the room between layers."""
    x = height = 0.0
    for command, numbers in re.findall(r"([MCH])([^MCH]+)", path):
        values = [float(number) for number in numbers.split()]
        if command == "H":
            if box.y < height < box.y + BOX_HEIGHT and box.x < values[0] <= box.x + BOX_WIDTH:
                return True
            x = values[0]
            continue
        if command == "C" and x < box.x < values[-2]:
            return True
        x, height = values[-2:]
    return False


@pytest.mark.parametrize("seed", range(30))
def test_boxes_do_not_overlap_and_all_of_it_is_inside(seed: int) -> None:
    drawing = some_graph(seed)
    for one, other in combinations(drawing.boxes, 2):
        assert not overlap(one, other), (one, other)
    for box in drawing.boxes:
        assert 0 <= box.x <= drawing.width - BOX_WIDTH
        assert 0 <= box.y <= drawing.height - BOX_HEIGHT


@pytest.mark.parametrize("seed", range(30))
def test_curves_go_from_the_right_of_one_box_to_the_left_of_another_and_through_none(seed: int) -> None:
    drawing = some_graph(seed)
    boxes = {box.name: box for box in drawing.boxes}
    for curve in drawing.curves:
        numbers = [float(n) for n in re.findall(r"-?[\d.]+", curve.path)]
        source, target = boxes[curve.source], boxes[curve.target]
        assert numbers[:2] == [source.x + BOX_WIDTH, source.y + BOX_HEIGHT / 2]
        assert numbers[-2:] == [target.x, target.y + BOX_HEIGHT / 2]
        assert not any(passes(curve.path, box) for box in drawing.boxes), curve


def test_several_edges_between_two_nodes_are_one_curve() -> None:
    layers, edges = DIAMOND
    assert len(draw(layers, edges * 3).curves) == 4


def crossings(drawing: GraphDrawing) -> int:
    """How many pairs of curves cross between two layers."""
    pieces: list[tuple[float, float, float]] = []  # where a piece begins, its height there and behind it
    for curve in drawing.curves:
        height = None
        for command, numbers in re.findall(r"([MCH])([^MCH]+)", curve.path):
            values = [float(number) for number in numbers.split()]
            if command == "C" and height is not None:
                pieces.append((values[-2], height, values[-1]))
            height = values[-1] if command != "H" else height
    return sum(a == b and (y - v) * (z - w) < 0 for (a, y, z), (b, v, w) in combinations(pieces, 2))


def test_what_need_not_cross_does_not() -> None:
    """Long edges have lanes beside the boxes, above or below, whichever crosses less."""
    edges = [("a", "b"), ("b", "c"), ("b", "d"), ("c", "e"), ("a", "e"), ("d", "f"), ("e", "f")]
    assert crossings(draw(layered(edges, list("abcdef")), edges)) == 0
    mixed = [("a", "x"), ("b", "y"), ("c", "z"), ("a", "y"), ("b", "z")]
    assert crossings(draw([["b", "c", "a"], ["z", "x", "y"]], mixed)) == 0


def test_the_densest_graph_is_drawn_in_no_time_and_no_larger_than_a_page() -> None:
    names = [f"n{i}" for i in range(100)]
    edges = list(combinations(names, 2))
    began = time.thread_time()
    drawing = draw([[name] for name in names], edges)
    assert time.thread_time() - began < 1
    assert (len(drawing.boxes), len(drawing.curves)) == (100, EDGES)
    assert drawing.left_out == len(edges) - EDGES
    assert sum(len(curve.path) for curve in drawing.curves) < 200_000


def test_one_node_is_a_graph() -> None:
    drawing = draw([["alone"]], [])
    assert len(drawing.boxes) == 1
    assert drawing.curves == ()
