"""Whole numbers in queries and forms."""

from __future__ import annotations

from flask import request

from core.errors import InvalidInput
from core.text import parse_whole_number

MOST = 10**16 - 1  # a whole number has at most 16 digits


def parse_argument(name: str, default: int) -> int:
    given = request.args.get(name, "")
    return parse(given, name) if given else default


def parse(text: str, name: str) -> int:
    """Raises InvalidInput with the name, if the text is not a whole number from 0 on."""
    number = parse_whole_number(text)
    if number is None:
        raise InvalidInput(f"{name} must be a whole number, 0 or more, got {text[:80]!r}", field=name)
    return number
