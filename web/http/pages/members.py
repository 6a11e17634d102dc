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
from web.http.pages.settings_page import render_section
from web.services import identities
from web.services.forges import members
from web.services.presentation.formats import format_forge_name
from web.services.repositories import hosting
from web.store import member_sources, projects
from web.store import members as rows
from web.store.member_sources import MemberSource

blueprint = Blueprint("members", __name__)


@dataclass(frozen=True, kw_only=True)
class FromForge:
    """Members from the forge called `host`: the setting if it is on, or why it cannot be switched on."""

    host: str
    source: MemberSource | None
    unable: str


@blueprint.get("/p/<name>/settings/members/")
@auth.read
def show(name: str) -> str:
    db = auth.get_db()
    project = projects.get_by_name(db, name)
    return render_section(
        "members", project, members=rows.list_members(db, project.id), from_forge=_from_forge(project)
    )


@blueprint.post("/p/<name>/settings/members")
@auth.own
@forms.shown_on(show)
def change(name: str) -> Response:
    """Give a user a role in the project; "none" removes the user from it."""
    db, role = auth.get_db(), _role()
    with forms.name_field("username"):
        identities.set_role(db, projects.get_by_name(db, name), request.form.get("username", "").strip(), role)
    return forms.redirect_after_saving(url_for("members.show", name=name))


@blueprint.post("/p/<name>/settings/members/forge")
@auth.own
@forms.shown_on(show)
def take_from_forge(name: str) -> Response:
    """Take members from the forge with at most a role; "none" switches this off."""
    members.set_source(auth.get_context(), projects.get_by_name(auth.get_db(), name), _role())
    return forms.redirect_after_saving(url_for("members.show", name=name))


def _role() -> Role | None:
    """Return the role of the form. Raises InvalidInput."""
    given = request.form.get("role", "")
    if given not in (*Role, "none"):
        raise InvalidInput(f"role must be {', '.join(Role)} or none, got {given[:80]!r}")
    return None if given == "none" else Role(given)


def _from_forge(project: Project) -> FromForge | None:
    """Return the data about members from the forge; None if nobody can log in with another server."""
    context = auth.get_context()
    if not context.config.login:
        return None
    try:
        repository = hosting.get_repository(context.db, project)
    except NotFound:
        return None
    if repository.forge == projects.HOSTED:
        return None
    return FromForge(
        host=format_forge_name(repository.forge),
        source=member_sources.find_member_source(context.db, project.id),
        unable=members.find_obstacle(context.config, project, repository),
    )
