"""Text from outside: for one line of a message, and as a number."""

from __future__ import annotations


def printable(text: str, instead: str = "?") -> str:
    """Replace what a terminal, a header or a log would interpret: control characters, line ends, lone surrogates."""
    return text if text.isprintable() else "".join(c if c.isprintable() else instead for c in text)


def whole_number(text: str | None, digits: int = 16) -> int | None:
    """Parse a whole number from 0 on, in ASCII and with at most `digits` digits; None for any other text."""
    return int(text) if text and text.isascii() and text.isdecimal() and len(text) <= digits else None
