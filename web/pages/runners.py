"""The machines that run containers, and what administrators do with them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from flask import Blueprint, make_response, redirect, render_template, request, url_for
from werkzeug import Response

from core.errors import CannotStart, ConfigError, Conflict, InvalidInput
from web import access
from web.services import dispatch, fleet_view
from web.services import runners as fleet
from web.services.runners import Credentials, Limits
from web.store import runners

blueprint = Blueprint("runners", __name__)

MOST_DIGITS = 6


@blueprint.get("/runners/")
@access.user
def listing() -> str:
    found = fleet_view.views(access.db())
    return render_template("runners.html", runners=found, facts=fleet_view.facts, room=fleet_view.room_text)


@blueprint.post("/runners/")
@access.admin
def register() -> Response:
    """The answer shows what is never shown again; so sending the form once more makes nothing anew."""
    name, slugs = request.form.get("name", "").strip(), request.form.get("environments", "").replace(",", " ").split()
    db, server = access.db(), access.server()
    if runners.by_name(db, name) is not None:
        raise Conflict(f"There is a runner {name} already: give it a new token, or remove it first.")
    with _explained():
        return _shown(fleet.register(db, server.config, server.queues, name, slugs, _limits()))


@blueprint.post("/runners/<name>/limits")
@access.admin
def limit(name: str) -> Response:
    fleet.limit(access.db(), fleet.by_name(access.db(), name), _limits())
    return _changed(name)


@blueprint.post("/runners/<name>/token")
@access.admin
def rotate(name: str) -> Response:
    db, server = access.db(), access.server()
    with _explained():
        return _shown(fleet.rotate(db, server.config, server.queues, fleet.by_name(db, name)))


@blueprint.post("/runners/<name>/drain")
@access.admin
def drain(name: str) -> Response:
    fleet.drain(access.db(), fleet.by_name(access.db(), name))
    return _changed(name)


@blueprint.post("/runners/<name>/resume")
@access.admin
def resume(name: str) -> Response:
    fleet.resume(access.db(), fleet.by_name(access.db(), name))
    return _changed(name)


@blueprint.post("/runners/<name>/remove")
@access.admin
def remove(name: str) -> Response:
    db, server = access.db(), access.server()
    force = "force" in request.form
    fleet.remove(db, server.config.logs_dir, server.queues, fleet.by_name(db, name), force=force)
    return _changed("")


def _limits() -> Limits:
    """Those of the form: no projects are all of them."""
    slots = request.form.get("slots", "").strip()
    if slots and not (slots.isascii() and slots.isdecimal() and len(slots) <= MOST_DIGITS):
        raise InvalidInput(f"slots must be a whole number, got {slots[:80]!r}")
    return Limits(
        slots=int(slots) if slots else None, projects=request.form.get("projects", "").replace(",", " ").split()
    )


@contextmanager
def _explained() -> Iterator[None]:
    """What is in the way on the server's side is for the administrator who asks, not for its log."""
    try:
        yield
    except (ConfigError, CannotStart) as error:
        raise Conflict(str(error)) from None


def _shown(made: Credentials) -> Response:
    page = render_template("runner_registered.html", made=made, file=fleet.CONFIG_FILE, command=fleet.COMMAND)
    response = make_response(page)
    response.headers["Cache-Control"] = "no-store"
    access.server().changes.publish()
    return response


def _changed(name: str) -> Response:
    """What a runner gives up or gets again may start somewhere at once."""
    server = access.server()
    dispatch.dispatch(access.db(), server.config, server.queues)
    server.changes.publish()
    return redirect(url_for("runners.listing", _anchor=f"runner-{name}" if name else None), 303)
