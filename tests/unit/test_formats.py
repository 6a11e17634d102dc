from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from core.units import format_duration, format_size
from web.services.presentation import charts, formats


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (12345678, "12345678"), (0.123456, "0.1235"), (99999.9, "100000"), (1.5, "1.5"), (1e-5, "1e-5"),
     (1.234567e12, "1.235e12"), (-0.00012345, "-0.0001234"), (3.0, "3")],
)  # fmt: skip
def test_numbers_have_four_significant_digits(value: float, text: str) -> None:
    assert formats.format_number(value) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.00 KiB"), (10**6, "977 KiB"), (2**30, "1.00 GiB"), (2**60, "1024 PiB")],
)
def test_sizes_have_iec_units(count: int, text: str) -> None:
    assert format_size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0.0 s"),
        (0.44, "0.4 s"),
        (9.96, "10 s"),
        (59.6, "1 min"),
        (200, "3 min 20 s"),
        (7500, "2 h 5 min"),
        (273600, "3 d 4 h"),
    ],
)
def test_durations_have_two_units_at_most(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("moment", "text"),
    [("2026-11-23T11:59:55.000000Z", "just now"), ("2026-11-23T11:57:00.000000Z", "3 min ago"),
     ("2026-11-20T12:00:00.000000Z", "3 d ago"), ("2026-01-02T12:00:00.000000Z", "2026-01-02")],
)  # fmt: skip
def test_times_are_relative_for_a_month(moment: str, text: str) -> None:
    assert formats.format_age(moment, datetime(2026, 11, 23, 12, tzinfo=UTC)) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(True, "true"), (None, "null"), ([1, "a"], '[1, "a"]'), ("x" * 300, "x" * 200 + "…"), ("NaN", "NaN")],
)
def test_any_json_value_has_a_short_form(value: Any, text: str) -> None:
    assert formats.format_value(value) == text


def test_whole_numbers_larger_than_any_float_are_numbers_too() -> None:
    assert formats.format_value(-(10**400)) == "-1e400"
    assert formats.format_value(123456 * 10**500) == "1.235e505"


def test_names_show_their_newlines_and_direction_marks() -> None:
    assert formats.to_one_line("a\nb\u202e") == "a␤b⟨U+202E⟩"
    assert formats.to_visible_text("a\nb\x00") == "a\nb␀"


def test_a_sparkline_fills_its_box() -> None:
    assert charts.draw_polyline([(0, 1.0), (5, 3.0), (10, 2.0)]) == "2.0,22.0 60.0,2.0 118.0,12.0"
    assert charts.draw_polyline([(0, 1.0)]) == ""
