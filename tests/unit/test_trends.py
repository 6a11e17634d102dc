"""Lines of a metric: each in its own range in a row, and all of them in one chart."""

from __future__ import annotations

import re

import pytest

from web.services.presentation.overlay import draw_lines, draw_scatter
from web.services.presentation.trends import CHART_HEIGHT, CHART_WIDTH, HEIGHT, MARGIN, WIDTH, Trend, draw_trends


def in_chart(trend: Trend) -> list[tuple[float, float]]:
    """The points of a line where the chart draws them."""
    move_x, move_y, scale_x, scale_y = map(float, re.findall(r"[-+0-9.e]+(?=[ )])", trend.transform))
    points = [tuple(map(float, point.split(","))) for point in trend.points.split()]
    return [(move_x + scale_x * x, move_y + scale_y * y) for x, y in points]


def test_a_line_fills_its_row_and_has_its_place_among_the_others() -> None:
    found = draw_trends("loss", {1: [(0, 10), (50, 20)], 2: [(50, 0), (100, 40)], 3: [(0, 1)]})
    assert found is not None
    assert (found.low, found.high, set(found.lines)) == ("0", "40", {1, 2})
    for trend in found.lines.values():
        assert trend.points == f"0,{HEIGHT - MARGIN} {WIDTH},{MARGIN}"
    inner = CHART_HEIGHT - 2 * MARGIN
    one, two = in_chart(found.lines[1]), in_chart(found.lines[2])
    assert one[0] == pytest.approx((0, MARGIN + inner * 3 / 4), abs=0.2)
    assert one[1] == pytest.approx((CHART_WIDTH / 2, MARGIN + inner / 2), abs=0.2)
    assert two[0] == pytest.approx((CHART_WIDTH / 2, MARGIN + inner), abs=0.2)
    assert two[1] == pytest.approx((CHART_WIDTH, MARGIN), abs=0.2)


@pytest.mark.parametrize("values", [(1, 1), (0, 0), (-1e300, 1e300), (5e-324, 1e-323)])
def test_values_without_a_range_or_with_a_huge_one_are_drawn(values: tuple[float, float]) -> None:
    found = draw_trends("x", {1: [(0, values[0]), (1, values[1])]})
    assert found is not None
    assert "nan" not in found.lines[1].points + found.lines[1].transform
    assert "inf" not in found.lines[1].points + found.lines[1].transform


def test_a_range_that_is_not_finite_is_not_drawn() -> None:
    assert draw_trends("x", {1: [(0, -1e308), (1, 1e308)]}) is None


def test_without_two_values_there_is_nothing_to_draw() -> None:
    assert draw_trends("x", {1: [(0, 1)]}) is None
    assert draw_trends("x", {}) is None


def test_a_comparison_shows_the_range_of_all_and_skips_what_has_no_values() -> None:
    drawn = draw_lines({0: [(0, 1.5), (3, 2)], 2: [(0, 4)]})
    assert drawn is not None
    assert [index for index, _ in drawn.lines] == [0, 2]
    assert [text for _, text in drawn.y_ticks] == ["1.5", "2.75", "4"]
    assert [text for _, text in drawn.x_ticks] == ["0", "2", "3"]
    assert draw_lines({0: []}) is None
    dots = draw_scatter([1, None, 3], [2, 2, -1e308])
    assert dots is not None
    assert [index for index, *_ in dots.dots] == [0, 2]
    assert draw_scatter([None], [1]) is None
