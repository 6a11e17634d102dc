"""Repositories: `/repositories/…`. A project has one, where its commits come from."""

from __future__ import annotations

from flask import request

from core.errors import NotFound
from core.text import parse_whole_number
from web.http import auth
from web.http.api import query, serialize, shapes
from web.http.api.answers import Json, Page, make_page
from web.http.api.parameters import PAGE, PROJECT, read_page, takes
from web.store import projects


@auth.read
@takes(PROJECT, *PAGE)
def listing() -> Json[Page[shapes.Repository]]:
    """List repositories, one for each project."""
    db, wanted = auth.get_db(), read_page()
    asked = query.find_requested_project(db)
    owners = {
        owner.id: owner for owner in ([asked] if asked else projects.list_projects(db, auth.list_visible_project_ids()))
    }
    found = projects.list_repositories(db, *owners)
    results = [
        serialize.build_repository(request.url_root, owners[item.project_id], item) for item in wanted.cut(found)
    ]
    return make_page(results, len(found), wanted)


@auth.read
def detail(identifier: str) -> Json[shapes.Repository]:
    """Return a repository."""
    db, number = auth.get_db(), parse_whole_number(identifier)
    if number is None:
        raise NotFound(f"there is no repository {identifier}")
    found = projects.get_repository(db, number)
    auth.enter(found.project_id, f"there is no repository {number}")
    return Json(serialize.build_repository(request.url_root, projects.get(db, found.project_id), found))
