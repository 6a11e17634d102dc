"""Log in with a token, and log out."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from flask import Blueprint, Flask, Request, Response, redirect, render_template, request, url_for
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface, SessionMixin
from flask.typing import ResponseReturnValue

from core.errors import TooMany
from core.rights import Action, is_in_scope
from web.http import auth
from web.http.pages.addresses import choose_local_path
from web.services import setup
from web.services.throttle import WINDOW_S

blueprint = Blueprint("session", __name__)

LIFETIME = timedelta(days=30)


class Sessions(SecureCookieSessionInterface):
    """Flask's sessions, without their work for requests that have no cookie and do not use the session."""

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        return super().open_session(app, request) if "HTTP_COOKIE" in request.environ else self.session_class()

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        if session.accessed:
            super().save_session(app, session, response)


def init_app(app: Flask) -> None:
    app.session_interface = Sessions()
    app.permanent_session_lifetime = LIFETIME
    app.config["SESSION_REFRESH_EACH_REQUEST"] = False  # badges and downloads must not set cookies


@blueprint.get("/login")
@auth.public
def login() -> ResponseReturnValue:
    if auth.find_session_identity() is not None:
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
    if not is_in_scope(identity.scopes, Action.READ):
        return _refused(username, auth.explain_refusal(identity, Action.READ), 403)
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
    return choose_local_path(request.values.get("next", "/"))
