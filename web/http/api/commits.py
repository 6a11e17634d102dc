"""Commits: `/commits/…` and `/projects/<project>/commits/<identifier>/`."""

from __future__ import annotations

from typing import Any

from flask import Response, request

from core.model import Commit, Project
from web.http import auth
from web.http.api import query, serialize
from web.http.api.answers import json_response, paginated
from web.store import commits, projects


@auth.read
def listing() -> Response:
    """List commits, newest first. `ordering` is ignored: clients ask for no other order.

    Unapproved commits of forks are left out: without a commit, `vh` uses the newest in this list.
    """
    db, page = auth.db(), query.page()
    found, count = commits.search(
        db,
        query.asked_projects(db),
        adhoc=query.flag("adhoc"),
        limit=page.limit,
        offset=page.offset,
        trusted=True,
    )
    owners = {owner.id: owner for owner in projects.listing(db)}
    results = [serialize.commit(request.url_root, owners[commit.project_id], commit) for commit in found]
    return paginated(results, count, page)


@auth.read
def detail(identifier: str) -> Response:
    db = auth.db()
    project = query.asked_project(db)
    if project is not None:
        return json_response(_detail(project, commits.by_identifier(db, project.id, identifier)))
    found = commits.find_in_any_project(db, identifier, auth.visible_projects())
    auth.enter(found.project_id, "")
    return json_response(_detail(projects.get(db, found.project_id), found))


@auth.read
def detail_in_project(project: str, identifier: str) -> Response:
    db = auth.db()
    owner = query.project(db, project)
    return json_response(_detail(owner, commits.by_identifier(db, owner.id, identifier)))


def _detail(project: Project, found: Commit) -> dict[str, Any]:
    config = {"config": found.config} if "config" in query.words("include") else {}
    return serialize.commit(request.url_root, project, found) | config
