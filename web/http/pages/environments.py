"""Environments: the kinds of machines that executions can ask for."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, redirect, render_template, request, url_for
from werkzeug import Response

from core.names import check_environment
from web.http import auth, changes
from web.http.pages import forms
from web.services.executions import environments as rules
from web.services.scheduling import dispatch
from web.store import environments, executions, runners

blueprint = Blueprint("environments", __name__)

TEXTS = ("description", "pull", "network")
NUMBERS = ("gpus", "memory", "cpus", "max_executions")
LISTS = ("images", "mounts")


@blueprint.get("/environments/")
@auth.read
@changes.shows(changes.ENVIRONMENTS, changes.ONLINE, changes.ANY_RUNS)
def listing() -> str:
    db = auth.db()
    fleet = runners.listing(db)
    found = [
        (item, rules.differences(item), [runner for runner in fleet if item.slug in runner.environments])
        for item in environments.listing(db)
    ]
    return render_template(
        "environments.html",
        environments=found,
        online={runner.id for runner in fleet if dispatch.is_online(runner)},
        unfinished=executions.unfinished_by_environment(db),
        choices=rules.CHOICES,
    )


@blueprint.post("/environments/")
@auth.admin
@forms.shown_on(listing)
def change() -> Response:
    """Update the environment `slug`, or create it."""
    given: dict[str, Any] = {name: request.form[name].strip() for name in TEXTS if name in request.form}
    given |= {name: request.form[name].strip() or "0" for name in NUMBERS if name in request.form}
    for name in LISTS:
        given[name] = request.form.get(name, "").replace(",", " ").split()
    given["autorestart"] = "autorestart" in request.form
    slug = request.form.get("slug", "").strip()
    with forms.at("slug"):
        check_environment(slug)
    for name, value in given.items():
        with forms.at(name):
            rules.column(name, value)
    changed = rules.change(auth.db(), slug, given)
    return forms.saved(url_for("environments.listing", _anchor=f"environment-{changed.slug}"))


@blueprint.post("/environments/<slug>/remove")
@auth.admin
@forms.shown_on(listing)
def remove(slug: str) -> Response:
    rules.remove(auth.db(), slug)
    return redirect(url_for("environments.listing"), 303)
