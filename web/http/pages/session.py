"""Log in with a token, and log out."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from flask import Blueprint, Flask, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from core.errors import TooMany
from core.rights import Action, in_scope
from web.http import auth
from web.http.pages.addresses import local_path
from web.services import setup
from web.services.throttle import WINDOW_S

blueprint = Blueprint("session", __name__)

LIFETIME = timedelta(days=30)


def init_app(app: Flask) -> None:
    app.permanent_session_lifetime = LIFETIME
    app.config["SESSION_REFRESH_EACH_REQUEST"] = False  # badges and downloads must not set cookies


@blueprint.get("/login")
@auth.public
def login() -> ResponseReturnValue:
    if auth.session_identity() is not None:
        return redirect(_next(), 303)
    return render_template("login.html", username=setup.ADMIN, problem="")  # the only user on most servers


@blueprint.post("/login")
@auth.public
def log_in() -> ResponseReturnValue:
    auth.check_csrf()
    username = request.form.get("username", "").strip()
    try:
        identity = auth.recognise(username, request.form.get("token", "").strip())
    except TooMany as error:
        return _refused(username, str(error), 429, {"Retry-After": f"{WINDOW_S:.0f}"})
    if identity is None:
        return _refused(username, "Wrong user name, password or token.", 401)
    if not in_scope(identity.scopes, Action.READ):
        return _refused(username, auth.refusal(identity, Action.READ), 403)
    target = _next()
    auth.begin_session(identity.user.id, identity.token_id)
    return redirect(target, 303)


@blueprint.post("/logout")
@auth.read
def log_out() -> ResponseReturnValue:
    auth.end_session()
    return redirect(url_for("session.login"), 303)


def _refused(username: str, problem: str, status: int, headers: Mapping[str, str] | None = None) -> ResponseReturnValue:
    return render_template("login.html", username=username, problem=problem), status, dict(headers or {})


def _next() -> str:
    return local_path(request.values.get("next", "/"))
