"""Convert terminal output to HTML: escape first, then map colours to an allow-list of classes.

Program output never ends up in an attribute. Escape sequences other than colours are dropped, including hyperlinks
(OSC 8); remaining control characters are made visible. If a line is rewritten with carriage returns, such as a progress
bar, only its last version is shown.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from core.text import parse_whole_number
from web.services.presentation.formats import to_visible_text

# ECMA-48: CSI; OSC, DCS, APC, PM and SOS strings up to their terminator or the end of the line; two-character sequences
SEQUENCE = re.compile(
    r"\x1b\[([0-?]*)[ -/]*([@-~])"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c|$)?"
    r"|\x1b[ -/]*[0-~]?"
    r"|\x9b[0-?]*[ -/]*[@-~]?"
)
NAMES = {1: "b", 2: "dim", 3: "i", 4: "u", 7: "inv", 9: "s"}
RESETS = {22: ("b", "dim"), 23: ("i",), 24: ("u",), 27: ("inv",), 29: ("s",)}
# RGB values of xterm's first 16 colours; other colours are mapped to the nearest
PALETTE = (
    (0, 0, 0), (205, 0, 0), (0, 205, 0), (205, 205, 0), (0, 0, 238), (205, 0, 205), (0, 205, 205), (229, 229, 229),
    (127, 127, 127), (255, 0, 0), (0, 255, 0), (255, 255, 0), (92, 92, 255), (255, 0, 255), (0, 255, 255), (255, 255, 255),
)  # fmt: skip
CUBE = (0, 95, 135, 175, 215, 255)
ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&#34;", "'": "&#39;"})


@dataclass(frozen=True)
class Style:
    """Style of the following characters; `front` and `back` are palette indices, -1 for the default."""

    marks: frozenset[str] = frozenset()
    front: int = -1
    back: int = -1

    @functools.cached_property
    def classes(self) -> str:
        names = sorted(self.marks)
        names += [f"f{self.front}"] if self.front >= 0 else []
        names += [f"k{self.back}"] if self.back >= 0 else []
        return " ".join(names)


PLAIN = Style()


def to_html(line: str) -> str:
    """Convert a line without its newline to HTML that is safe inside an element."""
    line = _last_version(line)
    if line.isprintable():  # neither escapes nor control characters: nearly all lines
        return line.translate(ESCAPES)
    if "\x1b" not in line and "\x9b" not in line and "\x9d" not in line:
        return to_visible_text(line).translate(ESCAPES)
    return "".join(_span(style, text) for style, text in _runs(line))


def _last_version(line: str) -> str:
    line = line.rstrip("\r")
    return line.rpartition("\r")[2] if "\r" in line else line


def _runs(line: str) -> Iterator[tuple[Style, str]]:
    style, position = PLAIN, 0
    for match in SEQUENCE.finditer(line):
        yield style, line[position : match.start()]
        position = match.end()
        if match.group(2) == "m":
            style = _restyled(style, match.group(1))
    yield style, line[position:]


def _span(style: Style, text: str) -> str:
    if not text:
        return ""
    html = to_visible_text(text).translate(ESCAPES)
    return f'<span class="{style.classes}">{html}</span>' if style != PLAIN else html


@functools.lru_cache(maxsize=1024)
def _restyled(style: Style, parameters: str) -> Style:
    """Apply the parameters of a Select Graphic Rendition sequence; unknown ones are ignored."""
    codes = [parse_whole_number(code, 3) or 0 for code in re.split("[;:]", parameters)]
    while codes:
        code = codes.pop(0)
        if code in (38, 48):
            colour = _extended(codes)
            style = replace(style, front=colour) if code == 38 else replace(style, back=colour)
        else:
            style = _with(style, code)
    return style


def _with(style: Style, code: int) -> Style:
    if code == 0:
        return PLAIN
    if code in NAMES:
        return replace(style, marks=style.marks | {NAMES[code]})
    if code in RESETS:
        return replace(style, marks=style.marks - set(RESETS[code]))
    tens, ones = divmod(code, 10)
    if tens in (3, 9) and ones < 8:
        return replace(style, front=ones + (8 if tens == 9 else 0))
    if tens in (4, 10) and ones < 8:
        return replace(style, back=ones + (8 if tens == 10 else 0))
    return replace(style, front=-1) if code == 39 else replace(style, back=-1) if code == 49 else style


def _extended(codes: list[int]) -> int:
    """Return the palette index nearest to the colour of `38;5;n` or `38;2;r;g;b`; removes its numbers from `codes`."""
    kind = codes.pop(0) if codes else 0
    wanted = 1 if kind == 5 else 3 if kind == 2 else 0
    values, codes[:wanted] = codes[:wanted], []
    if len(values) < wanted or not wanted:
        return -1
    if kind == 5 and values[0] < 16:
        return values[0]
    colour = _indexed(values[0]) if kind == 5 else (values[0], values[1], values[2])
    return min(range(16), key=lambda i: sum((a - b) ** 2 for a, b in zip(PALETTE[i], colour, strict=True)))


def _indexed(index: int) -> tuple[int, int, int]:
    """Return the RGB colour of an index from 16 on: a cube of 216 colours and 24 greys."""
    index = min(index, 255) - 16
    if index >= 216:
        grey = 8 + 10 * (index - 216)
        return grey, grey, grey
    return CUBE[index // 36], CUBE[index // 6 % 6], CUBE[index % 6]
