"""Commits: `/commits/…` and `/projects/<project>/commits/<identifier>/`."""

from __future__ import annotations

import time

from flask import request

from core.model import Commit, Project
from web.http import auth
from web.http.api import query, serialize, shapes
from web.http.api.answers import Json, Page, make_page
from web.http.api.parameters import PAGE, PROJECT, Flag, Words, read_page, takes
from web.services.deliveries import ingest
from web.services.repositories import hosting
from web.store import commits, deliveries, projects

READ_S, LOOK_S = 5.0, 0.05

ADHOC = Flag("adhoc", "Only ad-hoc code, or only other commits.")
INCLUDE = Words("include", "`config` adds the content of valohai.yaml.")


@auth.read
@takes(PROJECT, ADHOC, *PAGE)
def listing() -> Json[Page[shapes.Commit]]:
    """List commits, newest first.

    Unapproved commits of forks are left out: without a commit, `vh` uses the newest in this list.
    """
    db, wanted = auth.get_db(), read_page()
    if query.is_vh() and (project := query.find_requested_project(db)):
        await_pushes(project)
    found, count = commits.search(
        db,
        query.list_requested_project_ids(db),
        adhoc=ADHOC.flag(),
        limit=wanted.limit,
        offset=wanted.offset,
        trusted=True,
    )
    owners = {owner.id: owner for owner in projects.list_projects(db)}
    results = [serialize.build_commit(request.url_root, owners[commit.project_id], commit) for commit in found]
    return make_page(results, count, wanted)


def await_pushes(project: Project) -> None:
    """Wait until the pushes that have arrived are read, at most READ_S.

    `vh` looks for its commit right after `git push`, which does not wait for a busy server.
    """
    context, server = auth.get_context(), auth.get_server()
    repository = hosting.get_repository(context.db, project)
    if repository.forge == projects.HOSTED:
        ingest.collect_push_files_of(context, repository)
    deadline = time.monotonic() + READ_S
    while repository.id in deliveries.list_due_repositories(context.db) and time.monotonic() < deadline:
        server.queues.nudge_soon()
        time.sleep(LOOK_S)


@auth.read
@takes(PROJECT, INCLUDE)
def detail(identifier: str) -> Json[shapes.Commit]:
    """Return a commit. If several projects have it, return any of these."""
    db = auth.get_db()
    project = query.find_requested_project(db)
    if project is not None:
        return Json(_detail(project, commits.get_by_identifier(db, project.id, identifier)))
    found = commits.find_in_any_project(db, identifier, auth.list_visible_project_ids())
    auth.enter(found.project_id, "")
    return Json(_detail(projects.get(db, found.project_id), found))


@auth.read
@takes(INCLUDE)
def detail_in_project(project: str, identifier: str) -> Json[shapes.Commit]:
    """Return a commit of a project."""
    db = auth.get_db()
    owner = query.get_project(db, project)
    return Json(_detail(owner, commits.get_by_identifier(db, owner.id, identifier)))


def _detail(project: Project, found: Commit) -> shapes.Commit:
    shown = serialize.build_commit(request.url_root, project, found)
    return {**shown, "config": found.config} if "config" in INCLUDE.words() else shown
