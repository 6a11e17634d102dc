"""JSON responses: single objects and pages of a list."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

import orjson
from flask import Response, request

from web.http.api.query import ApiPage
from web.store.selection import Selection


def json_response(data: Any, status: int = 200) -> Response:
    """Return `data` as JSON, with keys in their given order."""
    return Response(_encode(data), status, mimetype="application/json")


def paginated(results: Sequence[Any], count: int, page: ApiPage | Selection) -> Response:
    """Return one page of `count` results, with the URLs of the next and previous pages."""
    after, before = page.offset + page.limit, max(0, page.offset - page.limit)
    return json_response(
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
