"""Lists of patterns: `*` and `?` stay inside one part of a name, `**` does not, and the last pattern that matches decides.

Patterns become regular expressions that take bounded time, whatever the pattern.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

LEAP = re.compile(r"(\*\*+)")
STAR = re.compile(r"\*+")


def includes(patterns: Sequence[str], name: str, *, parts: bool = True) -> bool:
    """Whether a list takes `name` in; without `parts` a `/` in the name is a letter like any other."""
    taken, _ = decide(patterns, name, parts=parts)
    return taken


def decide(patterns: Sequence[str], name: str, *, parts: bool = True) -> tuple[bool, str]:
    """Whether a list takes `name` in, and the pattern that says so; "" when none matches.

    A pattern that begins with `!` leaves out what it matches. A list that begins with one begins with everything.
    """
    for pattern in reversed(patterns):
        if matches(pattern.removeprefix("!"), name, parts=parts):
            return not pattern.startswith("!"), pattern
    return bool(patterns) and patterns[0].startswith("!"), ""


def matches(pattern: str, name: str, *, parts: bool = True) -> bool:
    """Whether one pattern, without its `!`, matches the whole name. A name matches itself, whatever it is made of."""
    return pattern == name or _compiled(pattern, parts).match(name) is not None


def is_pattern(text: str) -> bool:
    return text.startswith("!") or "*" in text or "?" in text


@functools.lru_cache(maxsize=4096)
def _compiled(pattern: str, parts: bool) -> re.Pattern[str]:
    """As a regular expression that takes no more than quadratic time, whatever the pattern is.

    A piece between two `**` is matched where it ends first, and for good: what it leaves, the next `**` takes. Each `*`
    does the same inside its piece. Only what follows the last one is tried at every place.
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
    """What stands between two `**`; `letter` is what `*` and `?` may stand for."""
    first, *rest = ["".join(letter if c == "?" else re.escape(c) for c in text) for text in piece.split("*")]
    groups = [f"(?>{letter}*?{text})" for text in rest]
    if groups and last:
        groups[-1] = f"{letter}*?{rest[-1]}"
    return first + "".join(groups)
