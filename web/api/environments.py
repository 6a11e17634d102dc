"""Environments: `/environments/…`. One exists as soon as a runner serves it."""

from __future__ import annotations

from flask import Response, request

from core.errors import NotFound
from web import access
from web.api import query, serialize
from web.api.answers import answer, page_of
from web.services.dispatch import DEFAULT_ENVIRONMENT
from web.store import executions, runners


@access.user
def listing() -> Response:
    page, names = query.page(), _names()
    unfinished = executions.unfinished_by_environment(access.db())
    results = [serialize.environment(request.url_root, name, unfinished.get(name, 0)) for name in page.cut(names)]
    return page_of(results, len(names), page)


@access.user
def detail(identifier: str) -> Response:
    for name in _names():
        if identifier in (name, serialize.environment_id(name)):
            unfinished = executions.unfinished_by_environment(access.db()).get(name, 0)
            return answer(serialize.environment(request.url_root, name, unfinished))
    raise NotFound(f"there is no environment {identifier!r}; there are {', '.join(_names())}")


def _names() -> list[str]:
    served = {name for runner in runners.listing(access.db()) for name in runner.environments}
    return sorted(served | {DEFAULT_ENVIRONMENT})
