"""The members of a project: the forms of its settings page."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Blueprint, request, url_for
from werkzeug import Response

from core.errors import InvalidInput, NotFound
from core.model import Project
from core.rights import Role
from web.http import auth
from web.http.pages import forms
from web.http.pages.settings_page import section
from web.services import identities
from web.services.forges import members
from web.services.presentation.formats import forge_name
from web.services.repositories import hosting
from web.store import member_sources, projects
from web.store import members as rows
from web.store.member_sources import MemberSource

blueprint = Blueprint("members", __name__)


@dataclass(frozen=True, kw_only=True)
class FromForge:
    """Members from the Git host called `host`: the setting if it is on, or why it cannot be switched on."""

    host: str
    source: MemberSource | None
    unable: str


@blueprint.get("/p/<name>/settings/members/")
@auth.read
def show(name: str) -> str:
    db = auth.db()
    project = projects.by_name(db, name)
    return section("members", project, members=rows.of_project(db, project.id), from_forge=_from_forge(project))


@blueprint.post("/p/<name>/settings/members")
@auth.own
@forms.shown_on(show)
def change(name: str) -> Response:
    """Give a user a role in the project; "none" removes the user from it."""
    db, role = auth.db(), _role()
    with forms.at("username"):
        identities.set_role(db, projects.by_name(db, name), request.form.get("username", "").strip(), role)
    return forms.saved(url_for("members.show", name=name))


@blueprint.post("/p/<name>/settings/members/forge")
@auth.own
@forms.shown_on(show)
def take(name: str) -> Response:
    """Take members from the Git host with at most a role; "none" switches it off."""
    members.set_source(auth.context(), projects.by_name(auth.db(), name), _role())
    return forms.saved(url_for("members.show", name=name))


def _role() -> Role | None:
    """Return the role of the form. Raises InvalidInput."""
    given = request.form.get("role", "")
    if given not in (*Role, "none"):
        raise InvalidInput(f"role must be {', '.join(Role)} or none, got {given[:80]!r}")
    return None if given == "none" else Role(given)


def _from_forge(project: Project) -> FromForge | None:
    """Return what the page shows of members from the Git host; None if nobody can log in with another server."""
    context = auth.context()
    if not context.config.login:
        return None
    try:
        repository = hosting.repository_of(context.db, project)
    except NotFound:
        return None
    if repository.forge == projects.HOSTED:
        return None
    return FromForge(
        host=forge_name(repository.forge),
        source=member_sources.of_project(context.db, project.id),
        unable=members.obstacle(context.config, project, repository),
    )
