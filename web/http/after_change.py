"""Announce the changes of each request, and set the actor for the audit trail, so that views need not do it.

A request of a user or runner that changed rows wakes all live pages, dispatches executions and nudges the worker. Two
decorators are for reports that runners send often, and that change neither states nor capacity.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from flask import Flask, Response, current_app, g, request

from web.http import auth
from web.store import audit
from web.store.audit import Act, Actor, Kind, Way

View = TypeVar("View", bound=Callable[..., Any])


def followed(view: View) -> View:
    """Only wake the live pages of the execution in the route."""
    view.wakes = True  # type: ignore[attr-defined]
    return view


def unseen(view: View) -> View:
    """Wake no live pages, since they do not show what the view changes."""
    view.wakes = False  # type: ignore[attr-defined]
    return view


WAYS = {"api": Way.API, "git": Way.GIT, "hooks": Way.FORGE}  # way of a change by the first part of the path


def init_app(app: Flask) -> None:
    """Register after `auth`, which records the use of a token first."""
    app.before_request(_begin)
    app.after_request(_announce)
    app.teardown_request(_forget_actor)


def _begin() -> None:
    way = WAYS.get(request.path.split("/")[1], Way.PAGE)
    username, token_id = (g.user.username, g.identity.token_id) if g.identity else ("", None)
    audit.set_actor(Actor(way=way, username=username, token_id=token_id, address=request.remote_addr or ""))
    g.rows_changed = auth.get_db().conn.total_changes if g.user or g.runner else None


def _forget_actor(error: BaseException | None) -> None:  # noqa: ARG001
    audit.set_actor(None)


def _announce(response: Response) -> Response:
    before = g.get("rows_changed")
    if before is None or auth.get_db().conn.total_changes == before:
        return response
    if g.user and not audit.get_actor().recorded:  # a new view: a test asks for an entry that says more
        name = (request.view_args or {}).get("name")
        audit.record(auth.get_db(), Act.REQUEST, Kind.ROUTE, request.endpoint, detail=f"project {name}" if name else "")
    execution = (request.view_args or {}).get("execution")  # reports of runners name it
    wakes = getattr(current_app.view_functions[request.endpoint or ""], "wakes", None)
    if wakes is None:
        auth.get_server().announcer.announce(auth.get_context(), execution)
    elif wakes:
        auth.get_server().announcer.wake(execution)
    return response
