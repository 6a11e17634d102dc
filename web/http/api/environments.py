"""Environments: `/environments/…`."""

from __future__ import annotations

from flask import request

from core.errors import NotFound
from core.names import explain_unknown_name
from web.http import auth
from web.http.api import serialize, shapes
from web.http.api.answers import Json, Page, make_page
from web.http.api.parameters import PAGE, read_page, takes
from web.store import environments, executions


@auth.read
@takes(*PAGE)
def listing() -> Json[Page[shapes.Environment]]:
    """List environments, by name."""
    wanted, found = read_page(), environments.list_environments(auth.get_db())
    unfinished = executions.count_unfinished_by_environment(auth.get_db())
    results = [
        serialize.build_environment(request.url_root, item, unfinished.get(item.slug, 0)) for item in wanted.cut(found)
    ]
    return make_page(results, len(found), wanted)


@auth.read
def detail(identifier: str) -> Json[shapes.Environment]:
    """Return an environment with its number of unfinished executions."""
    found = environments.list_environments(auth.get_db())
    for item in found:
        if identifier in (item.slug, item.uuid):
            unfinished = executions.count_unfinished_by_environment(auth.get_db()).get(item.slug, 0)
            return Json(serialize.build_environment(request.url_root, item, unfinished))
    raise NotFound(explain_unknown_name("environment", identifier, [item.slug for item in found]))
