"""The page behind an invitation: set a password and be logged in, or get a token."""

from __future__ import annotations

from flask import Blueprint, make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from core.errors import InvalidInput
from web.http import auth
from web.services import identities

blueprint = Blueprint("invitations", __name__)


@blueprint.get("/invitations/<secret>")
@auth.public
def show(secret: str) -> str:
    return render_template("invitation.html", user=identities.find_invited(auth.get_db(), secret), problem="")


@blueprint.post("/invitations/<secret>")
@auth.public
def accept(secret: str) -> ResponseReturnValue:
    """Consume the invitation. A token is shown only once."""
    auth.check_csrf()
    db = auth.get_db()
    if "token" in request.form:
        user, made = identities.accept_with_token(db, secret)
        response = make_response(render_template("invitation_token.html", user=user, made=made))
        response.headers["Cache-Control"] = "no-store"
        return response
    try:
        user = identities.accept_with_password(db, secret, request.form.get("password", ""))
    except InvalidInput as error:
        return render_template("invitation.html", user=identities.find_invited(db, secret), problem=f"{error}."), 400
    auth.begin_session(user.id)
    return redirect(url_for("projects.listing"), 303)
