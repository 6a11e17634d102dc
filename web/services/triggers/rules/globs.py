"""Lists of glob patterns: `*` and `?` do not match `/`, `**` does, and the last matching pattern decides.

They are compiled to regular expressions that take bounded time for any pattern.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

LEAP = re.compile(r"(\*\*+)")
STAR = re.compile(r"\*+")


def includes(patterns: Sequence[str], name: str, *, parts: bool = True) -> bool:
    """Return whether a list includes `name`; without `parts`, `/` is an ordinary character."""
    taken, _ = decide(patterns, name, parts=parts)
    return taken


def decide(patterns: Sequence[str], name: str, *, parts: bool = True) -> tuple[bool, str]:
    """Return whether a list includes `name`, and the pattern that decides; "" if none matches.

    A pattern that begins with `!` excludes what it matches. A list that begins with such a pattern includes everything
    else.
    """
    for pattern in reversed(patterns):
        if matches(pattern.removeprefix("!"), name, parts=parts):
            return not pattern.startswith("!"), pattern
    return bool(patterns) and patterns[0].startswith("!"), ""


def matches(pattern: str, name: str, *, parts: bool = True) -> bool:
    """Return whether one pattern, without its `!`, matches the whole name. Every name matches itself as a pattern."""
    return pattern == name or _compiled(pattern, parts).match(name) is not None


def is_pattern(text: str) -> bool:
    return text.startswith("!") or "*" in text or "?" in text


@functools.lru_cache(maxsize=4096)
def _compiled(pattern: str, parts: bool) -> re.Pattern[str]:
    """Compile to a regular expression that takes at most quadratic time for any pattern.

    A piece between two `**` is matched where it ends first, without backtracking: the next `**` matches the rest. Each
    `*` does the same inside its piece. Only the piece after the last one is tried at every position.
    """
    if not parts:
        return re.compile(_piece(STAR.sub("*", pattern), ".", last=True) + r"\Z", re.DOTALL)
    first, *rest = LEAP.split(f"{pattern}**" if pattern.endswith("/") else pattern)
    text, before = _piece(first, "[^/]", last=not rest), first
    for piece in rest[1::2]:
        last = piece is rest[-1]
        directories = piece.startswith("/") and (not before or before.endswith("/"))
        leap = "(?:.*?/)??" if directories else ".*?"
        matched = _piece(piece.removeprefix("/") if directories else piece, "[^/]", last=last)
        text, before = text + ("(?:" if last else "(?>") + leap + matched + ")", piece
    return re.compile(text + r"\Z", re.DOTALL)


def _piece(piece: str, letter: str, *, last: bool) -> str:
    """Return the expression for the text between two `**`; `letter` is what `*` and `?` match."""
    first, *rest = ["".join(letter if c == "?" else re.escape(c) for c in text) for text in piece.split("*")]
    groups = [f"(?>{letter}*?{text})" for text in rest]
    if groups and last:
        groups[-1] = f"{letter}*?{rest[-1]}"
    return first + "".join(groups)
