"""Environments: `/environments/…`."""

from __future__ import annotations

from flask import Response, request

from core.errors import NotFound
from core.names import unknown
from web.http import auth
from web.http.api import query, serialize
from web.http.api.answers import json_response, paginated
from web.store import environments, executions


@auth.read
def listing() -> Response:
    page, found = query.page(), environments.listing(auth.db())
    unfinished = executions.unfinished_by_environment(auth.db())
    results = [serialize.environment(request.url_root, item, unfinished.get(item.slug, 0)) for item in page.cut(found)]
    return paginated(results, len(found), page)


@auth.read
def detail(identifier: str) -> Response:
    found = environments.listing(auth.db())
    for item in found:
        if identifier in (item.slug, item.uuid):
            unfinished = executions.unfinished_by_environment(auth.db()).get(item.slug, 0)
            return json_response(serialize.environment(request.url_root, item, unfinished))
    raise NotFound(unknown("environment", identifier, [item.slug for item in found]))
