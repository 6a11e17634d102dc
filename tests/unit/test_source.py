"""A configuration file with its messages at their lines."""

from __future__ import annotations

from web.services.presentation.annotated_source import LINES, annotate


def test_messages_stand_at_their_lines_and_others_apart() -> None:
    source = annotate("a\nb\nc\n", ["line 2: first", "about all", "line 2: second", "line 99: at the end"])
    assert [(line.number, line.text, line.messages) for line in source.lines] == [
        (1, "a", ()), (2, "b", ("first", "second")), (3, "c", ("at the end",)),
    ]  # fmt: skip
    assert (list(source.loose), source.left_out) == (["about all"], 0)


def test_of_a_long_file_the_start_and_the_lines_around_messages_are_shown() -> None:
    text = "".join(f"{number}\n" for number in range(1, 2001))
    source = annotate(text, ["line 1500: here"])
    assert [line.number for line in source.lines] == [*range(1, LINES + 1), *range(1497, 1504)]
    assert [line.number for line in source.lines if line.gap] == [1497]
    assert source.left_out == 2000 - LINES - 7


def test_an_empty_file_has_no_lines() -> None:
    assert annotate("", ["line 1: it is empty"]).loose == ["line 1: it is empty"]
