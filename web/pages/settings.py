"""A project's settings: where it gets pushes from, its badge, and what came in."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Blueprint, render_template, url_for

from core.model import Project, Repository
from web import access
from web.pages.addresses import base_url
from web.services import hosting
from web.store import deliveries, execution_table, projects

blueprint = Blueprint("settings", __name__)

DELIVERIES = 30


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
        deliveries=deliveries.of_project(db, project.id, DELIVERIES),
    )


def _source(project: Project, repository: Repository) -> Source:
    hosted = repository.forge == projects.HOSTED
    return Source(
        repository=repository,
        push_url=f"{base_url()}/git/{project.name}.git" if hosted else "",
        webhook_url="" if hosted else base_url() + hosting.webhook_path(project, repository.forge),
    )
