"""Authentication and permissions: every view has one of these decorators, or the application does not start.

@public     no authentication
@signed     no authentication: the view first checks a signature of the raw body or of the URL
@user       a user: `Authorization: Token …`, or the session cookie with a CSRF token on unsafe methods.
            Safe methods read, all others change something
@reader     like @user, for a view that changes nothing although its method is unsafe
@admin      an administrator of the server, authenticated like @user
@git        Basic authentication with a token as the password: a user who fetches or pushes (git's service tells which),
            or a runner
@git_push   like @git, for a view that users need for pushes only
@git_either like @git, for users who may fetch or push: the view calls `may` for the action that the request needs
@runner     a runner: `Authorization: Token …` with a runner's token

`may` alone decides what a user is allowed to do.

A request becomes an `Identity` (user, token, scopes) and an `Action`, for pages, API and git alike. Project members
and roles belong in `may`. A session cookie contains a secret of a row in the database, which is read in each request
together with the token that the session was begun with. So logging out, revoking, expiry and disabling a user end
sessions at once. Tests request every route with a token of each scope.
"""

from __future__ import annotations

import hmac
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar

from flask import Flask, Response, current_app, g, redirect, request, session, url_for
from werkzeug.exceptions import Forbidden, TooManyRequests, Unauthorized

from core import clock
from core.config import Config
from core.identity import Identity, Scope
from core.model import Runner, User
from web.services.announcer import Announcer
from web.services.context import Context
from web.services.scheduling.queues import Queues
from web.services.throttle import WINDOW_S, Throttle
from web.services.vault import Vault
from web.store import runners, sessions, users
from web.store.db import Database, connect, transaction

View = TypeVar("View", bound=Callable[..., Any])
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
LAST_USED_S = 3600.0  # a token's last use is recorded at most once in this time


class Action(StrEnum):
    READ = "read"  # pages, read-only API requests, git fetch
    PUSH = "push"  # git push, which also creates a missing project
    CHANGE = "change"  # all other changes of a project
    ADMINISTER = "administer"  # runners and environments


ACTIONS = {
    Scope.READ: frozenset({Action.READ}),
    Scope.PUSH: frozenset({Action.PUSH}),
    Scope.LAUNCH: frozenset({Action.READ, Action.PUSH, Action.CHANGE}),
    Scope.ADMIN: frozenset(Action),
}


@dataclass(frozen=True, kw_only=True)
class Server:
    """What views need: config, queues, vault and shared state; created once by create_app."""

    config: Config
    queues: Queues
    vault: Vault
    announcer: Announcer
    throttle: Throttle = field(default_factory=Throttle)
    local: threading.local = field(default_factory=threading.local)


def server() -> Server:
    found: Server = current_app.extensions["pushmill"]
    return found


def context() -> Context:
    """Return what services need, with this thread's database connection, which lives as long as the thread."""
    here = server()
    if not hasattr(here.local, "context"):
        here.local.context = Context(db=connect(here.config.database), config=here.config, vault=here.vault)
    found: Context = here.local.context
    return found


def db() -> Database:
    return context().db


def may(identity: Identity, action: Action, project: str | None) -> bool:  # noqa: ARG001
    """Return whether an identity may perform the action on the named project; None is for actions outside any project.

    The only place that decides this. At present every user may do everything in every project; project members and
    their roles will be checked here.
    """
    if action is Action.ADMINISTER and not identity.user.is_admin:
        return False
    return any(action in ACTIONS[scope] for scope in identity.scopes)


def current_user() -> User:
    """Return the user of a @user or @git request; raise Unauthorized without one."""
    if g.user is None:
        raise Unauthorized
    found: User = g.user
    return found


def current_identity() -> Identity:
    """Return the identity of a @user request, or of a user's @git request; raise Unauthorized without one."""
    if g.identity is None:
        raise Unauthorized
    found: Identity = g.identity
    return found


def current_runner() -> Runner:
    """Return the runner of a @runner request."""
    found: Runner = g.runner
    return found


def public(view: View) -> View:
    return _mark(view, "public")


def signed(view: View) -> View:
    return _mark(view, "signed")


def user(view: View) -> View:
    return _mark(view, "user")


def reader(view: View) -> View:
    return _mark(view, "reader")


def admin(view: View) -> View:
    return _mark(view, "admin")


def git(view: View) -> View:
    return _mark(view, "git")


def git_push(view: View) -> View:
    return _mark(view, "git_push")


def git_either(view: View) -> View:
    return _mark(view, "git_either")


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
    g.user = g.runner = g.identity = None
    if request.endpoint is None:
        return None  # unknown route: 404 or 405 for everybody
    permission = permission_of(current_app._get_current_object(), request.endpoint)  # type: ignore[attr-defined]  # noqa: SLF001
    if permission in ("git", "git_push", "git_either"):
        _check_git(_git_actions(permission))
    if permission == "runner":
        _check_runner()
    if permission in ("user", "reader", "admin"):
        return _check_person(_action(permission))
    return None


def _action(permission: str) -> Action:
    """Return the action of this request to a view with this permission."""
    if permission == "admin":
        return Action.ADMINISTER
    reads = permission == "reader" or request.method in SAFE_METHODS
    return Action.READ if reads else Action.CHANGE


def _check_person(action: Action) -> Response | None:
    token = _header_token()
    identity = users.by_token(db(), token) if token else session_identity()
    if identity is None:
        if token:
            raise Unauthorized("Invalid token.")
        if request.path.startswith("/api/") or request.method not in SAFE_METHODS:
            raise Unauthorized("Authentication credentials were not provided.")
        return redirect(url_for("session.login", next=request.full_path.rstrip("?")), 303)  # type: ignore[return-value]
    _admit(identity, action)
    if not token and request.method not in SAFE_METHODS:
        check_csrf()
    return None


def _git_actions(permission: str) -> tuple[Action, ...]:
    """Return the actions of a git request; one of them must be allowed."""
    if permission == "git_either":
        return Action.READ, Action.PUSH
    pushes = "git-receive-pack" in (request.args.get("service"), request.path.rpartition("/")[2])
    return (Action.PUSH if pushes or permission == "git_push" else Action.READ,)


def _check_git(actions: tuple[Action, ...]) -> None:
    given = request.authorization
    password = given.password if given is not None and given.type == "basic" else None
    identity = users.by_token(db(), password) if password else None
    if password and identity is None:
        g.runner = runners.by_token(db(), password)
    if identity is not None:
        _admit(identity, *actions)
    elif g.runner is None:
        challenge = Response("Use a token as the password.\n", 401, {"WWW-Authenticate": 'Basic realm="pushmill"'})
        raise Unauthorized(response=challenge)


def _admit(identity: Identity, *actions: Action) -> None:
    """Let the request continue as this identity. Raises Forbidden if it may do none of the actions."""
    project = _project()
    if not any(may(identity, action, project) for action in actions):
        raise Forbidden(refusal(identity, actions[0]))
    g.identity, g.user = identity, identity.user
    last = identity.last_used_at
    if last is None or clock.seconds_between(last, clock.now()) > LAST_USED_S:
        _touch(identity)


def _touch(identity: Identity) -> None:
    if identity.session_id is not None:
        sessions.touch(db(), identity.session_id)
    if identity.token_id is not None:
        users.touch_token(db(), identity.token_id)


def _project() -> str | None:
    """Return the project name in the route, or None if the route has none."""
    found = (request.view_args or {}).get("name")
    return str(found) if found and request.path.startswith(("/p/", "/git/")) else None


def refusal(identity: Identity, action: Action) -> str:
    """Return the reason why `may` refuses the action, and the scope it needs."""
    if action is Action.ADMINISTER and not identity.user.is_admin:
        return "Only an administrator may do this."
    needed = " or ".join(scope for scope, actions in ACTIONS.items() if action in actions)
    have = " and ".join(sorted(identity.scopes)) or "nothing"
    return f"This token is for {have}; this needs one with the scope {needed} (`pushmill token new`)."


def _check_runner() -> None:
    g.runner = runners.by_token(db(), _header_token() or "")
    if g.runner is None:
        raise Unauthorized("Unknown runner token.")


def _header_token() -> str | None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "token" and token else None


def recognise(username: str, token: str) -> Identity | None:
    """Return the identity of a token if it belongs to this user name; failures count against the client's address.

    Raises TooManyRequests. Tokens are looked up by their hash, so timing reveals nothing about their characters.
    """
    throttle, address = server().throttle, request.remote_addr or ""
    if throttle.too_many(address):
        raise TooManyRequests(
            "Too many failed log-ins from your address. Try again in a minute.", retry_after=int(WINDOW_S)
        )
    found = users.by_token(db(), token)
    if found is None or not hmac.compare_digest(username.encode(), found.user.username.encode()):
        throttle.add(address)
        return None
    return found


def begin_session(user_id: int, token_id: int | None = None) -> None:
    """Replace the session with a new one for this user, which ends with the token, if one is given."""
    session.clear()
    with transaction(db()):
        client = request.user_agent.string
        session["id"] = sessions.begin(db(), user_id, token_id, request.remote_addr or "", client)
    session.permanent = True


def end_session() -> None:
    """End the session, also where its cookie may have been copied to."""
    if g.identity is not None and g.identity.session_id is not None:
        sessions.end(db(), g.identity.user.id, g.identity.session_id)
    session.clear()


def session_identity() -> Identity | None:
    """Return the identity of the session cookie; None without a cookie, or when the session has ended."""
    secret = session.get("id")
    return sessions.by_secret(db(), secret) if isinstance(secret, str) else None


def is_over(db: Database, identity: Identity) -> bool:
    """Return whether a streaming response must end: its session or its token has ended, or its user is disabled."""
    if identity.session_id is not None:
        return sessions.by_id(db, identity.session_id) is None
    return identity.token_id is None or users.by_token_id(db, identity.token_id) is None


def csrf_token() -> str:
    """Return the token that forms of this session send as `csrf_token` and scripts as `X-CSRF-Token`."""
    if "csrf" not in session:
        session["csrf"] = secrets.token_urlsafe(24)
    return str(session["csrf"])


def check_csrf() -> None:
    given = request.headers.get("X-CSRF-Token") or request.form.get("csrf_token", "")
    if not hmac.compare_digest(given.encode(), csrf_token().encode()):
        raise Forbidden("The form is out of date: go back, reload the page and try again.")
