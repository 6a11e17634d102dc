"""The documentation as pages: the Markdown files of `docs/`, with links between them and to their headings."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import NotFound

if TYPE_CHECKING:
    from markdown_it.renderer import RendererHTML
    from markdown_it.token import Token
    from markdown_it.utils import EnvType, OptionsDict

FIRST = "first-steps"
PAGE = re.compile(r"([a-z-]+)\.md(#.*)?")
NO_SLUG = re.compile(r"[^\w\- ]")


@dataclass(frozen=True, kw_only=True)
class DocPage:
    """`html` is trusted: it is made from files of this program."""

    name: str
    title: str
    html: str


def get_folder() -> Path:
    """Return `docs/` at the top of a checkout, inside the package `web` in an installed wheel."""
    inside = Path(__file__).parents[2] / "docs"
    return inside if inside.is_dir() else Path(__file__).parents[3] / "docs"


@cache
def map_titles_by_name() -> dict[str, str]:
    """Return the titles of all pages by name, in order."""
    found = {path.stem: path.read_text().partition("\n")[0].removeprefix("# ") for path in get_folder().glob("*.md")}
    return dict(sorted(found.items(), key=lambda item: (item[0] != FIRST, item[1].lower())))


@cache
def get_page(name: str) -> DocPage:
    """Return a page. Raises NotFound."""
    if name not in map_titles_by_name():
        raise NotFound(f"the documentation has no page {name[:80]!r}")
    from markdown_it import MarkdownIt

    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    markdown.add_render_rule("code_block", _copyable)
    tokens = markdown.parse((get_folder() / f"{name}.md").read_text())
    for token in tokens:
        if token.type in ("th_open", "td_open"):
            token.attrs.pop("style", None)  # forbidden by the content security policy
        if token.type == "fence":
            token.type, token.tag = "code_block", "code"
        if token.type in ("code_block", "table_open"):
            token.attrs |= {"tabindex": "0"}  # both may scroll
    _anchor(tokens)
    for token in tokens:
        if token.children:
            token.children = list(_linked(token.children))
    return DocPage(
        name=name, title=map_titles_by_name()[name], html=markdown.renderer.render(tokens, markdown.options, {})
    )


def _copyable(renderer: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
    """Render a block of code with a button that copies it."""
    code = renderer.code_block(tokens, index, options, env)
    return f'<div class="copyable">{code}<button type="button" class="copy">Copy</button></div>\n'


def _anchor(tokens: Sequence[Token]) -> None:
    """Give headings the ids that forges give them."""
    taken: dict[str, int] = {}
    for token, text in pairwise(tokens):
        if token.type == "heading_open":
            plain = "".join(child.content for child in text.children or () if child.type in ("text", "code_inline"))
            slug = NO_SLUG.sub("", plain.lower()).replace(" ", "-")
            number = taken[slug] = taken.get(slug, -1) + 1
            token.attrs["id"] = f"{slug}-{number}" if number else slug


def _linked(children: Sequence[Token]) -> Iterator[Token]:
    """Let links to other files lead to their pages; those to files that have none become plain text."""
    opened = []
    for child in children:
        if child.type == "link_open":
            href = str(child.attrs["href"])
            found = PAGE.fullmatch(href)
            if found:
                child.attrs["href"] = f"../{found[1]}/{found[2] or ''}"
            opened.append(bool(found) or href.startswith(("#", "http:", "https:")))
            if opened[-1]:
                yield child
        elif child.type != "link_close" or opened.pop():
            yield child
