"""A user's own tokens, sessions and password, at the address that `vh login` names."""

from __future__ import annotations

from flask import Blueprint, make_response, redirect, render_template, request, url_for
from werkzeug import Response

from core.errors import InvalidInput, NotFound
from core.identity import Scope
from web.http import auth, numbers
from web.http.pages import forms
from web.services import identities
from web.store import logins, sessions, users

blueprint = Blueprint("account", __name__)

DAY_S = 86400.0


@blueprint.get("/auth/tokens/")
@auth.account
def show() -> str:
    return _page()


@blueprint.post("/auth/tokens/")
@auth.account
@forms.shown_on(show)
def create() -> Response:
    """Create a token. The response shows it only once."""
    name, scope, days = (request.form.get(field, "").strip() for field in ("token_name", "scope", "days"))
    if scope not in set(Scope):
        raise InvalidInput(f"scope must be one of {', '.join(Scope)}, got {scope[:80]!r}")
    with forms.name_field("days"):
        lifetime_s = numbers.parse(days, "days") * DAY_S if days else None
    user = auth.get_current_user()
    made = identities.create_token(auth.get_db(), user.username, [Scope(scope)], name=name, lifetime_s=lifetime_s)
    return _unstored(_page(made))


@blueprint.post("/auth/tokens/<int(max=2147483647):token>/revoke")
@auth.account
def revoke(token: int) -> Response:
    db = auth.get_db()
    if token not in {one.id for one in users.list_tokens(db, auth.get_current_user().id)}:
        raise NotFound(f"you have no token {token}")
    users.revoke_token(db, token)
    return _back("h-tokens")


@blueprint.post("/auth/sessions/<session_id>/end")
@auth.account
def end_session(session_id: str) -> Response:
    sessions.end(auth.get_db(), auth.get_current_user().id, session_id)
    return _back("h-sessions")


@blueprint.post("/auth/sessions/end")
@auth.account
def end_other_sessions() -> Response:
    sessions.end_all(auth.get_db(), auth.get_current_user().id, but=auth.get_current_identity().session_id)
    return _back("h-sessions")


@blueprint.post("/auth/password")
@auth.account
@forms.shown_on(show)
def change_password() -> Response:
    """Set a new password, after checking the old one if there is one. Ends the other sessions."""
    db, user = auth.get_db(), auth.get_current_user()
    old, new = request.form.get("old", ""), request.form.get("password", "")
    found = auth.recognise(user.username, old) if users.find_password_hash(db, user.id) else None
    if users.find_password_hash(db, user.id) and (found is None or found.token_id is not None):
        with forms.name_field("old"):
            raise InvalidInput("the old password is wrong")
    with forms.name_field("password"):
        identities.change_password(db, user, new, auth.get_current_identity().session_id)
    return forms.redirect_after_saving(url_for("account.show", _anchor="h-password"))


def _page(made: identities.NewToken | None = None) -> str:
    db, user = auth.get_db(), auth.get_current_user()
    return render_template(
        "account.html",
        made=made,
        tokens=[token for token in users.list_tokens(db, user.id) if token.state == "active"],
        sessions=sessions.list_sessions(db, user.id),
        this_session=auth.get_current_identity().session_id,
        logins=logins.list_logins(db, user.id),
        has_password=users.find_password_hash(db, user.id) is not None,
        scopes=list(Scope),
    )


def _unstored(page: str) -> Response:
    response = make_response(page)
    response.headers["Cache-Control"] = "no-store"
    return response


def _back(anchor: str) -> Response:
    return redirect(url_for("account.show", _anchor=anchor), 303)
