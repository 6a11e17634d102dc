"""Who may do what. Every view carries one of these decorators; the application refuses to start with one that does not.

@public     anybody
@signed     anybody: the view itself checks a signature on the raw body or the URL before it does anything
@user       a person: `Authorization: Token …`, or the session cookie with a CSRF token on unsafe methods
@admin      a person who administers the server, by the same means
@git        Basic authentication with a token as the password: a person, or a runner
@runner     a runner: `Authorization: Token …` with a runner's token
"""

from __future__ import annotations

import hmac
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from flask import Flask, Response, current_app, g, redirect, request, session, url_for
from sqlite_utils import Database
from werkzeug.exceptions import Forbidden, Unauthorized

from core.config import Config
from core.model import Runner, User
from web.services.changes import Changes
from web.services.queues import Queues
from web.services.vault import Vault
from web.store import runners, users
from web.store.db import connect

View = TypeVar("View", bound=Callable[..., Any])
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, kw_only=True)
class Server:
    """What the views work with; made once by create_app."""

    config: Config
    queues: Queues
    vault: Vault
    changes: Changes = field(default_factory=Changes)
    connections: threading.local = field(default_factory=threading.local)


def server() -> Server:
    found: Server = current_app.extensions["pushmill"]
    return found


def db() -> Database:
    """This thread's connection. Connections live as long as their thread."""
    connections = server().connections
    if not hasattr(connections, "db"):
        connections.db = connect(server().config.database)
    found: Database = connections.db
    return found


def current_user() -> User:
    """The person of a @user or @git request."""
    if g.user is None:
        raise Unauthorized
    found: User = g.user
    return found


def current_runner() -> Runner:
    """The runner of a @runner request."""
    found: Runner = g.runner
    return found


def public(view: View) -> View:
    return _mark(view, "public")


def signed(view: View) -> View:
    return _mark(view, "signed")


def user(view: View) -> View:
    return _mark(view, "user")


def admin(view: View) -> View:
    return _mark(view, "admin")


def git(view: View) -> View:
    return _mark(view, "git")


def runner(view: View) -> View:
    return _mark(view, "runner")


def _mark(view: View, permission: str) -> View:
    view.permission = permission  # type: ignore[attr-defined]
    return view


def permission_of(app: Flask, endpoint: str) -> str | None:
    if endpoint == "static" or endpoint.endswith(".static"):
        return "public"
    return getattr(app.view_functions[endpoint], "permission", None)


def init_app(app: Flask) -> None:
    """Check that every route declares its permission and enforce it on each request."""
    undeclared = sorted(endpoint for endpoint in app.view_functions if permission_of(app, endpoint) is None)
    if undeclared:
        raise RuntimeError(f"these views declare no permission: {', '.join(undeclared)}")
    app.before_request(_enforce)


def _enforce() -> Response | None:
    g.user = g.runner = None
    if request.endpoint is None:
        return None  # no such route: 404 or 405 for everybody
    check = {"user": _check_user, "admin": _check_admin, "git": _check_git, "runner": _check_runner}.get(
        permission_of(current_app._get_current_object(), request.endpoint) or ""  # type: ignore[attr-defined]  # noqa: SLF001
    )
    return check() if check else None


def _check_user() -> Response | None:
    if token := _header_token():
        g.user = users.by_token(db(), token)
        if g.user is None:
            raise Unauthorized("Invalid token.")
        return None
    g.user = session_user()
    if g.user is None:
        if request.path.startswith("/api/") or request.method not in SAFE_METHODS:
            raise Unauthorized("Authentication credentials were not provided.")
        return redirect(url_for("session.login", next=request.full_path.rstrip("?")), 303)  # type: ignore[return-value]
    if request.method not in SAFE_METHODS:
        check_csrf()
    return None


def _check_admin() -> Response | None:
    elsewhere = _check_user()
    if elsewhere is None and not current_user().is_admin:
        raise Forbidden("Only an administrator may do this.")
    return elsewhere


def _check_git() -> None:
    given = request.authorization
    password = given.password if given is not None and given.type == "basic" else None
    if password:
        g.user = users.by_token(db(), password)
        g.runner = runners.by_token(db(), password) if g.user is None else None
    if g.user is None and g.runner is None:
        challenge = Response("Use a token as the password.\n", 401, {"WWW-Authenticate": 'Basic realm="pushmill"'})
        raise Unauthorized(response=challenge)


def _check_runner() -> None:
    g.runner = runners.by_token(db(), _header_token() or "")
    if g.runner is None:
        raise Unauthorized("Unknown runner token.")


def _header_token() -> str | None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "token" and token else None


def session_user() -> User | None:
    """The person whose session cookie came along, if any."""
    user_id = session.get("user")
    return users.get(db(), user_id) if isinstance(user_id, int) else None


def csrf_token() -> str:
    """The token that forms of this session must carry as `csrf_token` and scripts as `X-CSRF-Token`."""
    if "csrf" not in session:
        session["csrf"] = secrets.token_urlsafe(24)
    return str(session["csrf"])


def check_csrf() -> None:
    given = request.headers.get("X-CSRF-Token") or request.form.get("csrf_token", "")
    if not hmac.compare_digest(given.encode(), csrf_token().encode()):
        raise Forbidden("The form is out of date: go back, reload the page and try again.")
