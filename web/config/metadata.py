"""Metadata: recognise metadata lines of stdout and normalise their values.

A line counts if, trimmed and without terminal colours, it is one JSON object with at least one key. Python's NaN and
Infinity are accepted, since training frameworks print them often, and stored as the text "NaN", "Infinity",
"-Infinity", apart from the numbers.

The server recognises metadata while it stores stdout, not the runner: the values are hostile either way, so they would
have to be checked again, and the batch is in memory at that moment. An unfinished line is checked when it is complete.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

import orjson

LINE_BYTES = 64 * 1024
KEYS = 1000
KEY_CHARACTERS = 200
DEPTH = 20
EXACT_INTEGER = 2**53  # beyond it JavaScript and SQLite's REAL lose digits
LONG_INTEGER = re.compile(rb"\d{20}")  # orjson would round it
ANSI = re.compile(rb"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-Z\\-_]")
NEWLINE = ord("\n")
BEFORE_BRACE = b"{ \t\r\v\f\x1b"  # the first bytes of lines that start with a brace once trimmed and without colours
TIME_KEY = "_time"  # reserved; a program's value is ignored


def find_metadata(text: bytes) -> tuple[list[tuple[int, dict[str, Any]]], int]:
    """Return (line index, values) for every metadata line in a batch of whole lines, and the number of lines.

    Lines without a brace, nearly all of most logs, are skipped without looking at each.
    """
    found = []
    index = counted = at = 0  # `index` is the number of the line that starts at `counted`
    while (brace := text.find(b"{", at)) >= 0:
        start = brace if brace == at or text[brace - 1] == NEWLINE else max(at, text.rfind(b"\n", at, brace) + 1)
        at = text.find(b"\n", brace) + 1 or len(text) + 1
        if text[start] in BEFORE_BRACE and (values := parse(text[start : at - 1])):
            index, counted = index + text.count(b"\n", counted, start), start
            found.append((index, values))
    return found, index + text.count(b"\n", counted)


def parse(line: bytes) -> dict[str, Any] | None:
    """Return the values of one line, or None if it is plain log."""
    try:
        data = orjson.loads(line) if len(line) <= LINE_BYTES else _load_trimmed(line)
    except orjson.JSONDecodeError:
        data = _load_trimmed(line)
    if not isinstance(data, dict) or not data or len(data) > KEYS:
        return None
    if _is_plain(data) and (len(line) <= KEY_CHARACTERS or max(map(len, data)) <= KEY_CHARACTERS):
        return data
    if LONG_INTEGER.search(line):
        data = _load_trimmed(line)
    if not isinstance(data, dict) or _depth(data) > DEPTH:
        return None
    return {key: _value(value) for key, value in data.items() if key != TIME_KEY and len(key) <= KEY_CHARACTERS} or None


def to_number(value: Any) -> float | None:
    """Return a value as a number for charts and sorting: only numbers and numeric text have one."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        result = float(value)
    except (ValueError, OverflowError):
        return None
    return result if math.isfinite(result) else None


def _load_trimmed(line: bytes) -> Any:
    """Load a line without its colours, tolerating NaN, Infinity and numbers of any size."""
    line = (ANSI.sub(b"", line) if b"\x1b" in line else line).strip()
    if not (line.startswith(b"{") and line.endswith(b"}")) or len(line) > LINE_BYTES:
        return None
    try:
        data = json.loads(line.decode(), parse_constant=str, parse_int=_integer, parse_float=_float)
        orjson.dumps(data)  # rejects lone surrogates, which neither the database nor pages can represent
    except (ValueError, RecursionError, TypeError):
        return None
    return data


def _is_plain(data: dict[str, Any]) -> bool:
    """Return True for the most common lines, whose values need no conversion."""
    for value in data.values():
        kind = type(value)
        if kind is float or kind is int:
            if not -EXACT_INTEGER <= value <= EXACT_INTEGER:  # a float too: orjson makes one of a long integer
                return False
        elif kind is not str and kind is not bool and value is not None:
            return False
    return TIME_KEY not in data


def _integer(text: str) -> int | str:
    return int(text) if len(text) < 20 else text


def _float(text: str) -> float | str:
    value = float(text)
    return value if math.isfinite(value) else str(value).replace("inf", "Infinity")


def _value(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > EXACT_INTEGER:
        return str(value)
    if isinstance(value, list):
        return [_value(item) for item in value]
    if isinstance(value, dict):
        return {key: _value(item) for key, item in value.items()}
    return value


def _depth(value: Any) -> int:
    """Return the nesting depth of a value; stops counting beyond DEPTH."""
    level, depth = [value], 0
    while level and depth <= DEPTH:
        level = [child for item in level for child in _children(item)]
        depth += 1
    return depth


def _children(item: Any) -> list[Any]:
    if isinstance(item, dict):
        return [child for child in item.values() if isinstance(child, dict | list)]
    return [child for child in item if isinstance(child, dict | list)] if isinstance(item, list) else []
