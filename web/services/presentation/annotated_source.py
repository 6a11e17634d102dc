"""A configuration file with the messages about it at their lines."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

AT_LINE = re.compile(r"line ([1-9][0-9]{0,5}): (.*)", re.DOTALL)
LINES = 400  # lines from the start of the file that are shown
AROUND = 3  # lines that are shown before and after a message beyond them
LINE_CHARS = 500


@dataclass(frozen=True, kw_only=True)
class SourceLine:
    """A line of the file. `gap` is whether lines before it are left out."""

    number: int
    text: str
    messages: tuple[str, ...]
    gap: bool


@dataclass(frozen=True, kw_only=True)
class AnnotatedFile:
    """A file with messages; `loose` are those without a line of it, `left_out` is the number of lines not shown."""

    lines: Sequence[SourceLine]
    loose: Sequence[str]
    left_out: int


def annotate(text: str, messages: Sequence[str]) -> AnnotatedFile:
    """Return the first LINES lines of a file and those around messages."""
    lines = text.splitlines()
    at: dict[int, list[str]] = {}
    loose = []
    for message in messages:
        found = AT_LINE.fullmatch(message)
        if found and lines:
            at.setdefault(min(int(found[1]), len(lines)), []).append(found[2])
        else:
            loose.append(message)
    shown = sorted({*range(1, min(LINES, len(lines)) + 1), *_around(at, len(lines))})
    return AnnotatedFile(
        lines=[
            SourceLine(
                number=number,
                text=lines[number - 1][:LINE_CHARS],
                messages=tuple(at.get(number, ())),
                gap=number > 1 and (index == 0 or shown[index - 1] != number - 1),
            )
            for index, number in enumerate(shown)
        ],
        loose=loose,
        left_out=len(lines) - len(shown),
    )


def _around(at: dict[int, list[str]], end: int) -> Iterator[int]:
    for number in at:
        yield from range(max(1, number - AROUND), min(end, number + AROUND) + 1)
