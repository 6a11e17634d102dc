"""Text from outside on one line, and as a number."""

from __future__ import annotations

import pytest

from core.text import make_printable, parse_whole_number


def test_no_control_character_is_left() -> None:
    assert make_printable("a\x1b[2J\x07\ud800é\u202e│", " ") == "a [2J  é │"
    assert make_printable("a\nb") == "a?b"


@pytest.mark.parametrize("text", ["", "-1", "+1", "1.0", " 1", "1_000", "\u0661", "\u00b2", "9" * 17, None])
def test_only_ascii_digits_are_a_whole_number(text: str | None) -> None:
    assert parse_whole_number(text) is None


def test_a_whole_number_may_be_zero() -> None:
    assert (parse_whole_number("0"), parse_whole_number("007"), parse_whole_number("12", 1)) == (0, 7, None)
