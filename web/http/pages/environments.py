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
    db = auth.get_db()
    fleet = runners.list_runners(db)
    found = [
        (item, rules.list_differences(item), [runner for runner in fleet if item.slug in runner.environments])
        for item in environments.list_environments(db)
    ]
    return render_template(
        "environments.html",
        environments=found,
        online={runner.id for runner in fleet if dispatch.is_online(runner)},
        unfinished=executions.count_unfinished_by_environment(db),
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
    with forms.name_field("slug"):
        check_environment(slug)
    for name, value in given.items():
        with forms.name_field(name):
            rules.parse_column(name, value)
    changed = rules.change(auth.get_db(), slug, given)
    return forms.redirect_after_saving(url_for("environments.listing", _anchor=f"environment-{changed.slug}"))


@blueprint.post("/environments/<slug>/remove")
@auth.admin
@forms.shown_on(listing)
def remove(slug: str) -> Response:
    rules.remove(auth.get_db(), slug)
    return redirect(url_for("environments.listing"), 303)
