"""Paging of long lists, and links that keep the rest of the query."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self
from urllib.parse import urlencode

from flask import request

from core.text import parse_whole_number

MAX_PAGE = 1_000_000
PLACES = ("page", "after", "before")


@dataclass(frozen=True, kw_only=True)
class ListPage:
    """One page of a list, counted from 1; `total` is the number of items on all of them."""

    number: int
    size: int
    total: int = 0

    @classmethod
    def requested(cls, size: int) -> Self:
        return cls(number=min(parse_whole_number(request.args.get("page")) or 1, MAX_PAGE), size=size)

    def with_total(self, total: int) -> Self:
        return replace(self, total=total)

    @property
    def offset(self) -> int:
        return (self.number - 1) * self.size

    @property
    def first(self) -> int:
        return min(self.offset + 1, self.total)

    @property
    def last(self) -> int:
        return min(self.offset + self.size, self.total)

    @property
    def previous(self) -> str | None:
        return query(page=self.number - 1) if self.number > 1 else None

    @property
    def next(self) -> str | None:
        return query(page=self.number + 1) if self.last < self.total else None


def query(**changes: object) -> str:
    """Return this page's query with changes: None removes a name, a list gives it several values.

    Without a place it goes back to the first page.
    """
    kept = {name: values for name, values in request.args.lists() if name not in PLACES}
    wanted = kept | {name: value if isinstance(value, list) else [value] for name, value in changes.items()}
    return "?" + urlencode(
        [(name, value) for name, values in wanted.items() for value in values if value not in (None, "")]
    )
