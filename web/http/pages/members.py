"""The members of a project: the forms of its settings page."""

from __future__ import annotations

from flask import Blueprint, redirect, request, url_for
from werkzeug import Response

from core.errors import InvalidInput
from core.rights import Role
from web.http import auth
from web.services import identities
from web.store import projects

blueprint = Blueprint("members", __name__)


@blueprint.post("/p/<name>/settings/members")
@auth.own
def change(name: str) -> Response:
    """Give a user a role in the project; "none" removes the user from it."""
    db, given = auth.db(), request.form.get("role", "")
    if given not in (*Role, "none"):
        raise InvalidInput(f"role must be {', '.join(Role)} or none, got {given[:80]!r}")
    username = request.form.get("username", "").strip()
    identities.set_role(db, projects.by_name(db, name), username, None if given == "none" else Role(given))
    return redirect(url_for("settings.show", name=name, _anchor="members"), 303)
