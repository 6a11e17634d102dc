"""The documentation as data: its pages, prose, code blocks, headings and links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + sorted(ROOT.glob("docs/*.md"))
FENCE = re.compile(r" *```(\w*)$")
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
SPAN = re.compile(r"`([^`]+)`")


@dataclass(frozen=True)
class Block:
    """A code block: its language, the text without indentation, and the line of the page on which it begins."""

    page: Path
    language: str
    text: str
    line: int


def blocks(page: Path) -> Iterator[Block]:
    language: str | None = None
    lines: list[str] = []
    for number, line in enumerate(page.read_text().splitlines(), 1):
        fence = FENCE.match(line)
        if fence and language is None:
            language, lines, start = fence.group(1), [], number
            indent = len(line) - len(line.lstrip())
        elif fence:
            yield Block(page, language or "", "\n".join(lines), start)
            language = None
        elif language is not None:
            lines.append(line[indent:])


def without_blocks(page: Path) -> list[str]:
    """Return the lines of a page; those of code blocks are empty."""
    inside, lines = False, []
    for line in page.read_text().splitlines():
        fence = FENCE.match(line) is not None
        lines.append("" if inside or fence else line)
        inside ^= fence
    return lines


def words() -> str:
    """Return all of README and docs/ with single spaces, so that a phrase is found across line ends."""
    pages = [page for page in PAGES if page.parent.name == "docs" or page.name == "README.md"]
    return " ".join(" ".join(page.read_text().split()) for page in pages)


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub makes of the headings of a page."""
    headings = (line.lstrip("#") for line in without_blocks(page) if re.match(r"#{1,6} ", line))
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


def links(page: Path) -> Iterator[str]:
    for match in LINK.finditer("\n".join(without_blocks(page))):
        yield match.group(1)


def code(page: Path) -> Iterator[str]:
    """Yield the code spans of a page's prose; one may contain a line end."""
    for match in SPAN.finditer("\n".join(without_blocks(page))):
        yield " ".join(match.group(1).split())
