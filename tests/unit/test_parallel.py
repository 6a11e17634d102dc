"""Parallel coordinates: the positions of values, which are drawn, and that no value breaks them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import pytest

from core.states import State
from web.services.presentation import objective as goals
from web.services.presentation import parallel
from web.services.presentation.objective import Objective
from web.services.presentation.parallel import LINES, SHADES, Parallel, ParallelAxis
from web.store.trials import Trial

LOSS = Objective(key="loss", less=True)


def trial(number: float | None, place: int = 0, state: State = State.COMPLETE, **parameters: Any) -> Trial:
    return Trial(execution_id=place, counter=place, trial=place, state=state, parameters=parameters, number=number)


def drawn(*given: tuple[float | None, Mapping[str, Any]]) -> Parallel:
    tried = [trial(number, i, **parameters) for i, (number, parameters) in enumerate(given)]
    found = parallel.draw_chart(LOSS, tried, list(given[0][1]))
    assert found is not None
    return found


def words(axis: ParallelAxis) -> list[str]:
    """The ticks from the top down."""
    return [text for _, text in sorted(axis.ticks)]


def heights(found: Parallel, axis: int) -> dict[int, float]:
    return {line.trial.trial: float(line.points.split()[axis].split(",")[1]) for line in found.lines}


def test_more_is_higher_and_the_best_lies_on_top_of_the_others() -> None:
    found = drawn((0.5, {"rate": 1}), (0.25, {"rate": 3}), (0.75, {"rate": 2}))
    at = heights(found, 0)
    assert at[1] < at[2] < at[0]  # from the top of the drawing
    assert [line.trial.trial for line in found.lines] == [2, 0, 1]
    assert [line.best for line in found.lines] == [False, False, True]
    assert [axis.name for axis in found.axes] == ["rate", "loss"]
    assert words(found.axes[0]) == ["3", "2", "1"]


def test_values_over_several_powers_of_ten_lie_evenly() -> None:
    at = heights(drawn((1, {"rate": 1e-4}), (2, {"rate": 1e-3}), (3, {"rate": 1e-2})), 0)
    assert math.isclose(at[1], (at[0] + at[2]) / 2)
    near = heights(drawn((1, {"rate": 1}), (2, {"rate": 2}), (3, {"rate": 4})), 0)
    assert not math.isclose(near[1], (near[0] + near[2]) / 2)


def test_words_lists_flags_and_what_is_missing_have_places_too() -> None:
    found = drawn((1, {"kind": "a"}), (2, {"kind": True}), (3, {"kind": [1, 2]}), (4, {}), (5, {"kind": 7}))
    assert words(found.axes[0]) == ["a", "true", "[1, 2]", "none", "7"]
    assert len(set(heights(found, 0).values())) == 5


def test_the_better_the_stronger() -> None:
    found = drawn(*((float(i), {"rate": i}) for i in range(10)))
    shades = {line.trial.trial: line.shade for line in found.lines}
    assert shades[0] == SHADES - 1
    assert shades[9] == 0
    assert [shades[i] for i in range(10)] == sorted(shades.values(), reverse=True)


def test_the_best_are_drawn_and_the_rest_is_counted() -> None:
    found = drawn(*((float(i), {"rate": i}) for i in range(LINES + 50)))
    assert {line.trial.trial for line in found.lines} == set(range(LINES))
    assert found.left_out == 50


def test_there_must_be_something_to_compare() -> None:
    assert parallel.draw_chart(LOSS, [trial(1.0, rate=1)], ["rate"]) is None
    assert parallel.draw_chart(LOSS, [trial(1.0, rate=1), trial(None, rate=2)], ["rate"]) is None
    assert parallel.draw_chart(LOSS, [trial(1.0, rate=1), trial(2.0, rate=1)], []) is None


@pytest.mark.parametrize("value", [1.7e308, -1.7e308, 5e-324, 0, -1, 10**400, "", "\x00<b>", None, {"a": [1]}])
def test_no_value_breaks_it(value: Any) -> None:
    found = drawn((1.7e308, {"rate": value}), (-1.7e308, {"rate": 1.7e308}), (0.0, {"rate": 5e-324}))
    for line in found.lines:
        for point in line.points.split():
            x, y = map(float, point.split(","))
            assert 0 <= x <= parallel.WIDTH
            assert 0 <= y <= parallel.HEIGHT


def test_ticks_do_not_lie_on_each_other() -> None:
    found = drawn(*((float(i), {"rate": rate}) for i, rate in enumerate((1, 1.001, 1.002, 40))))
    ys = sorted(y for y, _ in found.axes[0].ticks)
    assert all(b - a >= parallel.TICK_GAP for a, b in pairwise(ys))


def test_the_names_of_many_axes_do_not_lie_on_each_other() -> None:
    names = [f"parameter number {i}" for i in range(12)]
    found = drawn(*((float(i), dict.fromkeys(names, i)) for i in range(3)))
    assert len(found.axes) == parallel.AXES + 1
    gap = found.axes[1].x - found.axes[0].x
    assert found.name_chars * parallel.CHAR_WIDTH <= gap
    assert drawn((1, {"rate": 1}), (2, {"rate": 2})).name_chars == parallel.NAME_CHARS


def test_a_long_name_is_cut_to_what_an_axis_has_room_for() -> None:
    assert parallel.shorten_text("learning_rate_of_the_second_head", 16) == "learning_rate_o…"
    assert parallel.shorten_text("a\nb", 16) == "a\u2424b"


@pytest.mark.parametrize(
    ("goal", "reached"),
    [
        (LOSS, [None, 3, 1, 1, 1]),
        (Objective(key="score"), [None, 3, 3, 3, 9]),
        (Objective(key="size", target=3.5), [None, 3, 3, 3, 3]),
    ],
)
def test_the_curve_keeps_the_best_so_far_of_those_that_ended_well(goal: Objective, reached: list[float | None]) -> None:
    numbers = [(None, State.COMPLETE), (3, State.COMPLETE), (1, State.STOPPED), (0, State.ERROR), (9, State.COMPLETE)]
    tried = [trial(number, i, state) for i, (number, state) in enumerate(numbers)]
    assert goals.compute_best_so_far(goal, tried) == reached


@pytest.mark.parametrize(
    ("key", "less"),
    [("val_loss", True), ("rmse", True), ("accuracy", False), ("error_score", False), ("anything", False)],
)
def test_a_keys_name_says_which_way_is_better(key: str, less: bool) -> None:
    assert goals.make_objective(key).less is less
    assert goals.make_objective(key).words == ("lowest" if less else "highest")
