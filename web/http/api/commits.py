"""Commits: `/commits/…` and `/projects/<project>/commits/<identifier>/`."""

from __future__ import annotations

import time

from flask import request

from core.model import Commit, Project
from web.http import auth
from web.http.api import query, serialize, shapes
from web.http.api.answers import Json, Page, paginated
from web.http.api.parameters import PAGE, PROJECT, Flag, Words, page, takes
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
    db, wanted = auth.db(), page()
    if query.is_vh() and (project := query.asked_project(db)):
        await_pushes(project)
    found, count = commits.search(
        db,
        query.asked_projects(db),
        adhoc=ADHOC.flag(),
        limit=wanted.limit,
        offset=wanted.offset,
        trusted=True,
    )
    owners = {owner.id: owner for owner in projects.listing(db)}
    results = [serialize.commit(request.url_root, owners[commit.project_id], commit) for commit in found]
    return paginated(results, count, wanted)


def await_pushes(project: Project) -> None:
    """Wait until the pushes that have arrived are read, at most READ_S.

    `vh` looks for its commit right after `git push`, which does not wait for a busy server.
    """
    context, server = auth.context(), auth.server()
    repository = hosting.repository_of(context.db, project)
    if repository.forge == projects.HOSTED:
        ingest.collect_push_files_of(context, repository)
    deadline = time.monotonic() + READ_S
    while repository.id in deliveries.waiting(context.db) and time.monotonic() < deadline:
        server.queues.nudge_soon()
        time.sleep(LOOK_S)


@auth.read
@takes(PROJECT, INCLUDE)
def detail(identifier: str) -> Json[shapes.Commit]:
    """Return a commit; of several projects that have it, any."""
    db = auth.db()
    project = query.asked_project(db)
    if project is not None:
        return Json(_detail(project, commits.by_identifier(db, project.id, identifier)))
    found = commits.find_in_any_project(db, identifier, auth.visible_projects())
    auth.enter(found.project_id, "")
    return Json(_detail(projects.get(db, found.project_id), found))


@auth.read
@takes(INCLUDE)
def detail_in_project(project: str, identifier: str) -> Json[shapes.Commit]:
    """Return a commit of a project."""
    db = auth.db()
    owner = query.project(db, project)
    return Json(_detail(owner, commits.by_identifier(db, owner.id, identifier)))


def _detail(project: Project, found: Commit) -> shapes.Commit:
    shown = serialize.commit(request.url_root, project, found)
    return {**shown, "config": found.config} if "config" in INCLUDE.words() else shown
