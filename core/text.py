"""Text from outside, for one line of a message and as a number; and words joined for a sentence."""

from __future__ import annotations

from collections.abc import Sequence


def make_printable(text: str, instead: str = "?") -> str:
    """Replace what a terminal, a header or a log would interpret: control characters, line ends, lone surrogates."""
    return text if text.isprintable() else "".join(c if c.isprintable() else instead for c in text)


def parse_whole_number(text: str | None, digits: int = 16) -> int | None:
    """Parse a whole number from 0 on, in ASCII and with at most `digits` digits; None for any other text."""
    return int(text) if text and text.isascii() and text.isdecimal() and len(text) <= digits else None


def join_words(words: Sequence[str], last: str = "and") -> str:
    """Join words for a sentence, such as "a, b and c"."""
    return f" {last} ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def find_text_problem(value: str) -> str | None:
    """Return why text cannot be an argument of a process, or None."""
    if "\0" in value:
        return "the value has a NUL character"
    try:
        value.encode()
    except UnicodeEncodeError:
        return "the value is not Unicode text"
    return None
