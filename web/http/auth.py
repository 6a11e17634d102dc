"""Authentication and rights: every view has one of these decorators, or the application does not start.

@public     no authentication
@signed     no authentication: the view first checks a signature of the raw body or of the URL
@runner     a runner: `Authorization: Token …` with a runner's token

A user, by `Authorization: Token …`, or the session cookie with a CSRF token on unsafe methods, who may:
@read       see the project; outside projects, every user
@launch     launch, stop and approve in the project
@own        change the project
@create     create projects
@account    change the own password, tokens and sessions
@admin      administer the server

A user by Basic authentication with a token as the password, or a runner:
@git        who fetches or pushes; git's service tells which
@git_push   who pushes
@git_either who fetches or pushes: the view calls `enter` for the action that the request needs

`may` alone decides what a user is allowed to do, by the table in `core.rights`. The project of a route with a name is
checked before the view runs. Views of the API, whose routes name executions or data, call `enter` with the project that
they find, and show in lists only `list_visible_project_ids`. A project without a role answers like one that does not exist.

A session cookie contains a secret of a row in the database, which is read in each request together with the token that
the session was begun with. So logging out, revoking, expiry and disabling a user end sessions at once. Tests request
every route with each role and each scope.
"""

from __future__ import annotations

import hmac
import secrets
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from flask import Flask, Response, current_app, g, redirect, request, session, url_for
from werkzeug.exceptions import Forbidden, Unauthorized

from core import clock
from core.config import Config
from core.errors import NotFound
from core.identity import Identity
from core.model import Runner, User
from core.rights import OF_ROLE, OF_SCOPE, OUTSIDE, Action, Role, is_in_scope, list_rights
from web.services import login
from web.services.announcer import Announcer
from web.services.checks.background import Checks
from web.services.context import Context
from web.services.logins.providers import Providers
from web.services.runners.heartbeats import Heartbeats
from web.services.scheduling.queues import Queues
from web.services.throttle import Throttle
from web.services.vault import Vault
from web.store import members, runners, sessions, users
from web.store.db import Database, connect, transaction

View = TypeVar("View", bound=Callable[..., Any])
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
LAST_USED_S = 3600.0  # a token's last use is recorded at most once in this time


@dataclass(frozen=True, kw_only=True)
class Server:
    """What views need: config, queues, vault and shared state; created once by create_app."""

    config: Config
    queues: Queues
    vault: Vault
    announcer: Announcer
    providers: Providers
    heartbeats: Heartbeats
    throttle: Throttle = field(default_factory=Throttle)
    checks: Checks = field(default_factory=Checks)
    local: threading.local = field(default_factory=threading.local)

    def get_context(self) -> Context:
        """Return what services need, with this thread's database connection, which lives as long as the thread."""
        if not hasattr(self.local, "context"):
            self.local.context = Context(db=connect(self.config.database), config=self.config, vault=self.vault)
        found: Context = self.local.context
        return found


def get_server() -> Server:
    found: Server = current_app.extensions["pushmill"]
    return found


def get_context() -> Context:
    return get_server().get_context()


def get_db() -> Database:
    return get_context().db


def may(identity: Identity, action: Action, role: Role | None) -> bool:
    """Return whether an identity with this role in the project may perform the action there.

    The only place that decides this. The role is None outside projects.
    """
    return action in list_rights(role, is_admin=identity.user.is_admin) and is_in_scope(identity.scopes, action)


def is_allowed(action: Action) -> bool:
    """Return whether the user of this request may perform the action in the project of this request."""
    return g.identity is not None and may(g.identity, action, g.role)


def enter(project_id: int, missing: str, action: Action | None = None) -> None:
    """Check that the user may perform the action, by default the view's, in a project.

    Raises NotFound with the text `missing` if the project is invisible to the user, and Forbidden. Does nothing for
    runners.
    """
    if g.identity is not None:
        _enter(
            g.identity,
            members.find_role(get_db(), g.identity.user.id, project_id),
            missing,
            [action] if action else g.actions,
        )


def enter_named(identity: Identity, name: str, *actions: Action) -> None:
    """Check that the identity may perform one of the actions in a project. A push may create the project.

    Raises NotFound and Forbidden. Unknown and invisible projects cost the same query.
    """
    place = members.find_membership(get_db(), identity.user.id, name)
    creates = place is None and Action.PUSH in actions and not identity.user.is_admin
    if creates and (Action.READ not in actions or is_in_scope(identity.scopes, Action.CREATE)):
        _enter_server(identity, Action.CREATE)
    else:
        asked = request.path.split("/")[2].removesuffix(".git")  # a UUID, where the name would say too much
        _enter(identity, place.role if place else None, explain_invisible_project(asked), actions)


def explain_invisible_project(project: str) -> str:
    """Return the error for an invisible project: the same for an unknown one and for one without a role."""
    return f"there is no project {project!r} that you can see: ask its owner for a role in it"


def list_visible_project_ids() -> frozenset[int] | None:
    """Return the ids of the projects that the user may see; None for all."""
    person = get_current_user()
    return None if person.is_admin else members.list_project_ids(get_db(), person.id)


def get_current_user() -> User:
    """Return the user of a @user or @git request; raise Unauthorized without one."""
    if g.user is None:
        raise Unauthorized
    found: User = g.user
    return found


def get_current_identity() -> Identity:
    """Return the identity of a @user request, or of a user's @git request; raise Unauthorized without one."""
    if g.identity is None:
        raise Unauthorized
    found: Identity = g.identity
    return found


def get_current_runner() -> Runner:
    """Return the runner of a @runner request."""
    found: Runner = g.runner
    return found


def _requires(permission: str | Action) -> Callable[[View], View]:
    """Return the decorator by which views declare this permission."""

    def mark(view: View) -> View:
        view.permission = permission  # type: ignore[attr-defined]
        return view

    return mark


public, signed, runner = _requires("public"), _requires("signed"), _requires("runner")
read, launch, own = _requires(Action.READ), _requires(Action.LAUNCH), _requires(Action.OWN)
create, account, admin = _requires(Action.CREATE), _requires(Action.ACCOUNT), _requires(Action.ADMINISTER)
git, git_push, git_either = _requires("git"), _requires("git_push"), _requires("git_either")


def find_permission(app: Flask, endpoint: str) -> str | Action | None:
    if endpoint == "static" or endpoint.endswith(".static"):
        return "public"
    return getattr(app.view_functions[endpoint], "permission", None)


def init_app(app: Flask) -> None:
    """Check that every route declares its permission and enforce it on each request."""
    undeclared = sorted(endpoint for endpoint in app.view_functions if find_permission(app, endpoint) is None)
    if undeclared:
        raise RuntimeError(f"these views declare no permission: {', '.join(undeclared)}")
    app.before_request(_enforce)


def _enforce() -> Response | None:
    g.user = g.runner = g.identity = g.role = None
    if request.endpoint is None:
        return None  # unknown route: 404 or 405 for everybody
    permission = find_permission(current_app._get_current_object(), request.endpoint)  # type: ignore[attr-defined]  # noqa: SLF001
    if permission in ("git", "git_push", "git_either"):
        _check_git(_git_actions(permission))
    if permission == "runner":
        _check_runner()
    if isinstance(permission, Action):
        return _check_person(permission)
    return None


def _check_person(action: Action) -> Response | None:
    token = _header_token()
    identity = users.find_by_token(get_db(), token) if token else find_session_identity()
    if identity is None:
        if token:
            raise Unauthorized(f"Invalid token. Create a new one at {request.url_root}auth/tokens/ and log in with it.")
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
    identity = users.find_by_token(get_db(), password) if password else None
    if password and identity is None:
        g.runner = runners.find_by_token(get_db(), password)
    if identity is not None:
        _admit(identity, *actions)
    elif g.runner is None:
        challenge = Response("Use a token as the password.\n", 401, {"WWW-Authenticate": 'Basic realm="pushmill"'})
        raise Unauthorized(response=challenge)


def _admit(identity: Identity, *actions: Action) -> None:
    """Let the request continue as this identity. Raises NotFound or Forbidden if it may do none of the actions."""
    g.actions = actions
    if (name := _project()) is None:
        _enter_server(identity, actions[0])
    else:
        enter_named(identity, name, *actions)
    g.identity, g.user = identity, identity.user
    last = identity.last_used_at
    if last is None or clock.count_seconds_between(last, clock.now()) > LAST_USED_S:
        _touch(identity)


def _enter(identity: Identity, role: Role | None, missing: str, actions: Sequence[Action]) -> None:
    if Action.READ not in list_rights(role, is_admin=identity.user.is_admin):
        raise NotFound(missing)
    if not any(may(identity, action, role) for action in actions):
        raise Forbidden(explain_refusal(identity, actions[0]))
    g.role = role


def _enter_server(identity: Identity, action: Action) -> None:
    """Check what does not depend on a role; the view checks the rest when it knows the project."""
    fits = is_in_scope(identity.scopes, action)
    if not fits or (action in OUTSIDE and action not in list_rights(None, is_admin=identity.user.is_admin)):
        raise Forbidden(explain_refusal(identity, action))


def _touch(identity: Identity) -> None:
    if identity.session_id is not None:
        sessions.touch(get_db(), identity.session_id)
    if identity.token_id is not None:
        users.touch_token(get_db(), identity.token_id)


def _project() -> str | None:
    """Return the project name in the route, or None if the route has none."""
    found = (request.view_args or {}).get("name")
    return str(found) if found and request.path.startswith(("/p/", "/git/")) else None


def explain_refusal(identity: Identity, action: Action) -> str:
    """Return the reason why `may` refuses the action, and the scope or role it needs."""
    if action is Action.ADMINISTER and not identity.user.is_admin:
        return "Only an administrator may do this."
    if is_in_scope(identity.scopes, action):
        needed = " or ".join(role for role, actions in OF_ROLE.items() if action in actions)
        return f"You need the role {needed} in this project: an owner of it can give it to you."
    needed = " or ".join(scope for scope, actions in OF_SCOPE.items() if action in actions)
    have = " and ".join(sorted(identity.scopes)) or "nothing"
    return f"This token is for {have}; this needs one with the scope {needed} (`pushmill token new`)."


def _check_runner() -> None:
    g.runner = runners.find_by_token(get_db(), _header_token() or "")
    if g.runner is None:
        raise Unauthorized("Unknown runner token.")


def _header_token() -> str | None:
    return parse_token(request.headers.get("Authorization", ""))


def parse_token(authorization: str) -> str | None:
    """Return the token of an `Authorization: Token …` header, None if it has none."""
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "token" and token else None


def recognise(username: str, secret: str) -> Identity | None:
    """Return the identity of a user with this password or token. Raises TooMany."""
    return login.recognise(get_db(), get_server().throttle, username, secret, request.remote_addr or "")


def begin_session(user_id: int, token_id: int | None = None) -> None:
    """Replace the session with a new one for this user, which ends with the token, if one is given."""
    session.clear()
    with transaction(get_db()):
        client = request.user_agent.string
        session["id"] = sessions.begin(get_db(), user_id, token_id, request.remote_addr or "", client)
    if token_id is not None:
        users.touch_token(get_db(), token_id)
    session.permanent = True


def end_session() -> None:
    """End the session, also where its cookie may have been copied to."""
    if g.identity is not None and g.identity.session_id is not None:
        sessions.end(get_db(), g.identity.user.id, g.identity.session_id)
    session.clear()


def find_session_identity() -> Identity | None:
    """Return the identity of the session cookie; None without a cookie, or when the session has ended."""
    secret = session.get("id")
    return sessions.find_by_secret(get_db(), secret) if isinstance(secret, str) else None


def resume(identity: Identity, project_id: int | None) -> bool:
    """Continue a streaming response, of a project or outside, as this identity; return False if it must end."""
    g.identity, g.user, g.role = identity, identity.user, None
    if project_id is None:
        return is_in_scope(identity.scopes, Action.READ) and is_current(get_db(), identity)
    g.role = members.find_role(get_db(), identity.user.id, project_id)
    return may(identity, Action.READ, g.role) and is_current(get_db(), identity)


def is_valid(db: Database, identity: Identity, action: Action, project_id: int) -> bool:
    """Return whether an identity still exists and may perform the action in a project."""
    return may(identity, action, members.find_role(db, identity.user.id, project_id)) and is_current(db, identity)


def is_current(db: Database, identity: Identity) -> bool:
    """Return whether an identity still exists; not if its user was disabled meanwhile."""
    if identity.session_id is not None:
        return sessions.find_by_id(db, identity.session_id) is not None
    return identity.token_id is not None and users.find_by_token_id(db, identity.token_id) is not None


def csrf_token() -> str:
    """Return the token that forms of this session send as `csrf_token` and scripts as `X-CSRF-Token`."""
    if "csrf" not in session:
        session["csrf"] = secrets.token_urlsafe(24)
    return str(session["csrf"])


def check_csrf() -> None:
    given = request.headers.get("X-CSRF-Token") or request.form.get("csrf_token", "")
    if not hmac.compare_digest(given.encode(), csrf_token().encode()):
        raise Forbidden("The form was out of date: try again.")
