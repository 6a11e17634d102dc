"""Which lines of stdout are metadata, and how their values are converted."""

from __future__ import annotations

import json
import math
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from web.config import metadata
from web.config.metadata import DEPTH, KEY_CHARACTERS, KEYS, LINE_BYTES


@pytest.mark.parametrize(
    ("line", "values"),
    [
        (b'{"loss": 0.5, "epoch": 3}', {"loss": 0.5, "epoch": 3}),
        (b'  \t{"a": 1}\r', {"a": 1}),
        (b'\x1b[32m{"a": 1}\x1b[0m', {"a": 1}),
        (b'\x1b]0;title\x07{"a": 1}', {"a": 1}),
        (b'{"a": "x", "b": true, "c": null, "d": [1, [2]], "e": {"f": 1}}',
         {"a": "x", "b": True, "c": None, "d": [1, [2]], "e": {"f": 1}}),
        (b'{"a": 1, "a": 2}', {"a": 2}),
        ('{"größe": "µ"}'.encode(), {"größe": "µ"}),
    ],
)  # fmt: skip
def test_a_line_that_is_one_json_object_is_metadata(line: bytes, values: dict[str, Any]) -> None:
    assert metadata.parse(line) == values


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b"[1, 2]",
        b"3",
        b"null",
        b'"text"',
        b'epoch {"a": 1}',
        b'{"a": 1} done',
        b'{"a": 1}{"b": 2}',
        b"{'a': 1}",
        b'{"a": 1,}',
        b"{a: 1}",
        b'{"a": \xff}',
        b'{"\\ud800": 1}',
        b'{"a": "\\udfff"}',
        b"{" * 1000 + b"}" * 1000,
    ],
)
def test_every_other_line_is_plain_log(line: bytes) -> None:
    assert metadata.parse(line) is None


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("NaN", "NaN"),
        ("Infinity", "Infinity"),
        ("-Infinity", "-Infinity"),
        ("1e400", "Infinity"),
        ("-1e400", "-Infinity"),
        ("[NaN, 1e400, 1]", ["NaN", "Infinity", 1]),
        ('{"b": -1e999}', {"b": "-Infinity"}),
    ],
)
def test_what_is_no_finite_number_is_kept_as_text_apart_from_the_numbers(text: str, kept: Any) -> None:
    values = metadata.parse(f'{{"a": {text}, "ok": 1}}'.encode())
    assert values == {"a": kept, "ok": 1}
    assert metadata.to_number(values["a"]) is None


@pytest.mark.parametrize("number", [2**53 + 1, -(2**53) - 1, 2**63, 2**64, 2**70, 10**400])
def test_an_integer_that_others_would_round_is_kept_digit_by_digit(number: int) -> None:
    line = f'{{"a": {number}, "b": [{number}], "c": {{"d": {number}}}}}'.encode()
    text = str(number)
    assert metadata.parse(line) == {"a": text, "b": [text], "c": {"d": text}}
    assert metadata.parse(f'{{"a": {number}}}'.encode()) == {"a": text}


def test_an_integer_that_is_exact_everywhere_stays_a_number() -> None:
    assert metadata.parse(b'{"a": 9007199254740992, "b": -9007199254740992}') == {"a": 2**53, "b": -(2**53)}


def test_the_caps_on_bytes_keys_and_depth_hold() -> None:
    fits = b'{"a": "' + b"x" * (LINE_BYTES - 9) + b'"}'
    assert len(fits) == LINE_BYTES
    assert metadata.parse(fits)
    assert metadata.parse(fits.replace(b"x", b"xx", 1)) is None
    assert metadata.parse(orjson.dumps({str(i): i for i in range(KEYS)}))
    assert metadata.parse(orjson.dumps({str(i): i for i in range(KEYS + 1)})) is None
    nested = b"[" * (DEPTH - 1) + b"]" * (DEPTH - 1)
    assert metadata.parse(b'{"a": %s}' % nested)
    assert metadata.parse(b'{"a": [%s]}' % nested) is None


def test_a_key_that_is_too_long_and_the_time_of_a_program_are_left_out() -> None:
    line = orjson.dumps({"x" * KEY_CHARACTERS: 1, "y" * (KEY_CHARACTERS + 1): 2, "_time": "mine"})
    assert metadata.parse(line) == {"x" * KEY_CHARACTERS: 1}
    assert metadata.parse(b'{"_time": 1}') is None


def test_lines_are_found_by_their_place_in_the_batch() -> None:
    text = b'one\n{"a": 1}\n\n{"no\n {"b": 2}\nlast'
    assert metadata.find_metadata(text) == ([(1, {"a": 1}), (4, {"b": 2})], 5)
    assert metadata.find_metadata(b"nothing\nhere\n") == ([], 2)
    braces = b'{"a": 1}\n{"b": 2}\nx {"c": 3}\n {\n\x1b[1m{"d": 4}\x1b[0m\n\n\v{"e": 5}\r\n'
    assert metadata.find_metadata(braces) == ([(0, {"a": 1}), (1, {"b": 2}), (4, {"d": 4}), (6, {"e": 5})], 7)


@pytest.mark.parametrize(
    ("value", "number"),
    [(1, 1.0), (0.5, 0.5), ("0.25", 0.25), ("1e3", 1000.0), (True, None), (None, None), ("NaN", None), ("x", None),
     ([1], None), ({"a": 1}, None), (10**400, None), ("inf", None), ("", None)],
)  # fmt: skip
def test_numbers_and_numeric_text_can_be_charted_and_nothing_else(value: Any, number: float | None) -> None:
    assert metadata.to_number(value) == number


ANYTHING = st.one_of(
    st.binary(max_size=300),
    st.text(max_size=100).map(lambda text: f"{{{text}}}".encode("utf-8", "replace")),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
        max_leaves=20,
    ).map(lambda value: json.dumps({"k": value}).encode()),
)


@given(ANYTHING | st.lists(ANYTHING, max_size=4).map(b"\n".join))
@example(b'{"a":' + b"[" * 30_000 + b"}")
@example(b'{"a":' * 5000 + b"1" + b"}" * 5000)
@example(b'{"a": 1' + b"0" * 60_000 + b"}")
@example(b"{\x1b[" + b"0;" * 30_000 + b"}")
@example(b"{\x00\x00\x00}")
@settings(max_examples=500)
def test_no_line_whatever_makes_it_fail_and_what_comes_out_can_be_shown_and_stored(line: bytes) -> None:
    values = metadata.parse(line)
    if values is not None:
        assert values
        assert orjson.loads(orjson.dumps(values)) == values
        assert all(math.isfinite(number) for v in values.values() if (number := metadata.to_number(v)) is not None)
        json.dumps(values, allow_nan=False)
    found, count = metadata.find_metadata(line)
    parsed = map(metadata.parse, line.split(b"\n"))
    assert (found, count) == ([(index, v) for index, v in enumerate(parsed) if v], line.count(b"\n"))
