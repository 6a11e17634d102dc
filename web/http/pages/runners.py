"""Runners: the machines that run containers, and what administrators can do with them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from flask import Blueprint, make_response, render_template, request, url_for
from werkzeug import Response

from core import clock
from core.errors import CannotStart, ConfigError, Conflict
from core.names import check_environment, check_runner
from web.http import auth, changes, numbers
from web.http.pages import forms
from web.services.runners import overview
from web.services.runners import registration as fleet
from web.services.runners.registration import RunnerCredentials, RunnerLimits
from web.store import projects, runners

blueprint = Blueprint("runners", __name__)


@blueprint.get("/runners/")
@auth.read
@changes.shows(changes.RUNNERS, changes.ONLINE, changes.ANY_RUNS)
def listing() -> str:
    found = overview.list_runner_views(auth.get_db(), auth.list_visible_project_ids())
    return render_template(
        "runners.html",
        runners=found,
        facts=overview.list_runner_facts,
        room=overview.format_capacity,
        lack=fleet.find_missing_setup(auth.get_server().config),
    )


@blueprint.post("/runners/")
@auth.admin
@forms.shown_on(listing)
def register() -> Response:
    """Register a runner. The response shows its secrets only once, so resubmitting the form creates nothing."""
    name, slugs = request.form.get("name", "").strip(), request.form.get("environments", "").replace(",", " ").split()
    db, server = auth.get_db(), auth.get_server()
    with forms.name_field("name"):
        check_runner(name)
        if runners.find_by_name(db, name) is not None:
            raise Conflict(f"Runner {name} already exists: remove it first, or create new credentials for it.")
    with forms.name_field("environments"):
        for slug in slugs:
            check_environment(slug)
    limits = _limits()
    with _explained():
        return _shown(fleet.register(auth.get_context(), server.queues, name, slugs, limits))


@blueprint.post("/runners/<name>/limits")
@auth.admin
@forms.shown_on(listing)
def limit(name: str) -> Response:
    fleet.limit(auth.get_db(), fleet.get_by_name(auth.get_db(), name), _limits())
    return _back_to(name)


@blueprint.post("/runners/<name>/token")
@auth.admin
@forms.shown_on(listing)
def rotate(name: str) -> Response:
    with _explained():
        return _shown(
            fleet.rotate(auth.get_context(), auth.get_server().queues, fleet.get_by_name(auth.get_db(), name))
        )


@blueprint.post("/runners/<name>/drain")
@auth.admin
@forms.shown_on(listing)
def drain(name: str) -> Response:
    fleet.drain(auth.get_db(), fleet.get_by_name(auth.get_db(), name))
    return _back_to(name)


@blueprint.post("/runners/<name>/resume")
@auth.admin
@forms.shown_on(listing)
def resume(name: str) -> Response:
    fleet.resume(auth.get_db(), fleet.get_by_name(auth.get_db(), name))
    return _back_to(name)


@blueprint.post("/runners/<name>/remove")
@auth.admin
@forms.shown_on(listing)
def remove(name: str) -> Response:
    force = "force" in request.form
    fleet.remove(auth.get_context(), auth.get_server().queues, fleet.get_by_name(auth.get_db(), name), force=force)
    return _back_to("")


def _limits() -> RunnerLimits:
    """Return the limits in the form; no projects means all projects."""
    db, named = auth.get_db(), request.form.get("projects", "").replace(",", " ").split()
    with forms.name_field("projects"):
        for name in named:
            projects.get_by_name(db, name)
    return RunnerLimits(slots=_slots(), projects=named)


def _slots() -> int | None:
    given = request.form.get("slots", "").strip()
    with forms.name_field("slots"):
        return numbers.parse(given, "slots") if given else None


@contextmanager
def _explained() -> Iterator[None]:
    """Show problems of the server's configuration to the administrator, instead of logging them."""
    try:
        yield
    except (ConfigError, CannotStart) as error:
        raise Conflict(str(error)) from None


def _shown(made: RunnerCredentials) -> Response:
    page = render_template("runner_registered.html", made=made, now=clock.now())
    response = make_response(page)
    response.headers["Cache-Control"] = "no-store"
    return response


def _back_to(name: str) -> Response:
    return forms.redirect_after_saving(url_for("runners.listing", _anchor=f"runner-{name}" if name else None))
