"""JSON answers, single and in pages."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

import orjson
from flask import Response, request

from web.http.api.query import Page


def answer(data: Any, status: int = 200) -> Response:
    """Keys stay in their order."""
    return Response(_encode(data), status, mimetype="application/json")


def page_of(results: Sequence[Any], count: int, page: Page) -> Response:
    """One page of `count` results, with the addresses of its neighbours."""
    after, before = page.offset + page.limit, max(0, page.offset - page.limit)
    return answer(
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
    except TypeError:  # a parameter of valohai.yaml may hold half a surrogate pair or a number of any length
        return json.dumps(data).encode()
