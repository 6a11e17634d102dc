"""A project's settings: where it gets pushes from, its badge, and what came in."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Blueprint, redirect, render_template, request, url_for
from werkzeug import Response

from core.errors import InvalidInput
from core.model import Project, Repository
from web import access
from web.pages.addresses import base_url
from web.services import dispatch, hosting
from web.store import deliveries, environments, execution_table, projects
from web.store.db import transaction

blueprint = Blueprint("settings", __name__)

DELIVERIES = 30
MOST_DIGITS = 6


@dataclass(frozen=True, kw_only=True)
class Source:
    """A repository with what a person enters elsewhere: the address to push to, or of the webhook."""

    repository: Repository
    push_url: str
    webhook_url: str


@blueprint.get("/p/<name>/settings/")
@access.user
def show(name: str) -> str:
    db = access.db()
    project = projects.by_name(db, name)
    sources = [_source(project, repository) for repository in projects.repositories(db, project.id)]
    return render_template(
        "settings.html",
        project=project,
        sources=sources,
        badge=url_for("badges.badge", name=project.name),
        base_url=base_url(),
        steps=execution_table.steps(db, project.id),
        environments=environments.listing(db),
        deliveries=deliveries.of_project(db, project.id, DELIVERIES),
    )


@blueprint.post("/p/<name>/settings/runs")
@access.user
def change_runs(name: str) -> Response:
    """Where steps run that name no environment that there is, and how many executions at once."""
    db = access.db()
    project = projects.by_name(db, name)
    environment = environments.by_slug(db, request.form.get("environment", ""))
    given = request.form.get("max_executions", "").strip() or "0"
    if not given.isascii() or not given.isdecimal() or len(given) > MOST_DIGITS:
        raise InvalidInput(f"executions at once must be a whole number, 0 for no limit; got {given[:80]!r}")
    with transaction(db):
        projects.set_runs(db, project.id, environment.slug, int(given))
    server = access.server()
    dispatch.dispatch(db, server.queues)
    server.changes.publish()
    return redirect(url_for("settings.show", name=name, _anchor="h-runs"), 303)


def _source(project: Project, repository: Repository) -> Source:
    hosted = repository.forge == projects.HOSTED
    return Source(
        repository=repository,
        push_url=f"{base_url()}/git/{project.name}.git" if hosted else "",
        webhook_url="" if hosted else base_url() + hosting.webhook_path(project, repository.forge),
    )
