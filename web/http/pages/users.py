"""The users of the server, for its administrators."""

from __future__ import annotations

from flask import Blueprint, make_response, render_template, request, url_for
from werkzeug import Response

from web.http import auth
from web.http.pages import forms
from web.http.pages.addresses import get_base_url
from web.services import identities
from web.store import members, users

blueprint = Blueprint("users", __name__)


@blueprint.get("/users/")
@auth.admin
def listing() -> str:
    return _page()


@blueprint.post("/users/")
@auth.admin
@forms.shown_on(listing)
def add() -> Response:
    """Add a user and show the link of the invitation, once."""
    username = request.form.get("username", "").strip()
    with forms.name_field("username"):
        identities.add_user(auth.get_db(), username, is_admin="admin" in request.form)
    return _invited(username, identities.invite(auth.get_db(), username))


@blueprint.post("/users/<username>/admin")
@auth.admin
@forms.shown_on(listing)
def set_admin(username: str) -> Response:
    identities.set_admin(auth.get_db(), username, is_admin="admin" in request.form)
    return _back_to(username)


@blueprint.post("/users/<username>/disable")
@auth.admin
@forms.shown_on(listing)
def disable(username: str) -> Response:
    identities.disable(auth.get_db(), username)
    return _back_to(username)


@blueprint.post("/users/<username>/enable")
@auth.admin
@forms.shown_on(listing)
def enable(username: str) -> Response:
    identities.enable(auth.get_db(), username)
    return _back_to(username)


@blueprint.post("/users/<username>/reset")
@auth.admin
@forms.shown_on(listing)
def reset(username: str) -> Response:
    """Remove the password, end the sessions and show the link of a new invitation, once."""
    return _invited(username, identities.reset_password(auth.get_db(), username))


def _page(invited: str = "", link: str = "") -> str:
    db = auth.get_db()
    found = users.list_users(db)
    roles = members.list_projects_by_user(db, [user.id for user in found])
    return render_template(
        "users.html", users=found, roles=roles, used=users.map_last_used(db), invited=invited, link=link
    )  # fmt: skip


def _invited(username: str, secret: str) -> Response:
    link = get_base_url() + url_for("invitations.show", secret=secret)
    response = make_response(_page(username, link))
    response.headers["Cache-Control"] = "no-store"
    return response


def _back_to(username: str) -> Response:
    return forms.redirect_after_saving(url_for("users.listing", _anchor=f"user-{username}"))
