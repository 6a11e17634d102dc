"""JSON responses. The return type of a view declares what it answers with: type checks and `openapi` read it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Generic, TypedDict, TypeVar
from urllib.parse import urlencode

import orjson
from flask import Response, request
from msgspec import Meta

from web.http.api.parameters import ApiPage
from web.store.selection import Selection

T = TypeVar("T")


class Json(Response, Generic[T]):
    """Data as JSON, with keys in their given order."""

    def __init__(self, data: T, status: int | None = None) -> None:
        super().__init__(_encode(data), status, mimetype="application/json")

    @classmethod
    def streamed(cls, parts: Iterable[bytes]) -> Json[T]:
        """Return a response with JSON that is generated while it is sent."""
        made = cls.__new__(cls)
        Response.__init__(made, parts, mimetype="application/json")
        return made


class Created(Json[T]):
    default_status = 201


class Empty(Response):
    """The response after something was removed."""

    default_status = 204


class Page(TypedDict, Generic[T]):
    """One page of a list."""

    count: Annotated[int, Meta(description="Objects in the whole list.")]
    next: Annotated[str | None, Meta(description="URL of the next page.")]
    previous: str | None
    results: list[T]


class Message(TypedDict):
    """A message that says what was done."""

    message: str


def make_page(results: Sequence[T], count: int, page: ApiPage | Selection) -> Json[Page[T]]:
    """Return one page of `count` results, with the URLs of the next and previous pages."""
    after, before = page.offset + page.limit, max(0, page.offset - page.limit)
    return Json(
        {
            "count": count,
            "next": _address(page.limit, after) if after < count else None,
            "previous": _address(page.limit, before) if page.offset else None,
            "results": list(results),
        }
    )


def _address(limit: int, offset: int) -> str:
    given = [(name, value) for name, value in request.args.items(multi=True) if name not in ("limit", "offset")]
    query = urlencode([*given, ("limit", str(limit)), ("offset", str(offset))])
    return f"{request.url_root.rstrip('/')}{request.path}?{query}"


def _encode(data: Any) -> bytes:
    try:
        return orjson.dumps(data)
    except TypeError:  # parameters of valohai.yaml may contain lone surrogates or integers of any length
        return json.dumps(data).encode()
