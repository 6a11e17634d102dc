"""Environments: `/environments/…`."""

from __future__ import annotations

from flask import request

from core.errors import NotFound
from core.names import unknown
from web.http import auth
from web.http.api import serialize, shapes
from web.http.api.answers import Json, Page, paginated
from web.http.api.parameters import PAGE, page, takes
from web.store import environments, executions


@auth.read
@takes(*PAGE)
def listing() -> Json[Page[shapes.Environment]]:
    """List environments, by name."""
    wanted, found = page(), environments.listing(auth.db())
    unfinished = executions.unfinished_by_environment(auth.db())
    results = [
        serialize.environment(request.url_root, item, unfinished.get(item.slug, 0)) for item in wanted.cut(found)
    ]
    return paginated(results, len(found), wanted)


@auth.read
def detail(identifier: str) -> Json[shapes.Environment]:
    """Return an environment with its number of unfinished executions."""
    found = environments.listing(auth.db())
    for item in found:
        if identifier in (item.slug, item.uuid):
            unfinished = executions.unfinished_by_environment(auth.db()).get(item.slug, 0)
            return Json(serialize.environment(request.url_root, item, unfinished))
    raise NotFound(unknown("environment", identifier, [item.slug for item in found]))
