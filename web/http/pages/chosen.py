"""Actions on the executions that are selected in the table."""

from __future__ import annotations

from flask import Blueprint, redirect, request, url_for
from werkzeug import Response

from core.errors import Conflict, InvalidInput
from core.model import Execution
from core.states import FINAL
from core.text import whole_number
from web.http import auth
from web.http.pages.addresses import way_back
from web.services import reruns
from web.services.executions import lifecycle, tags
from web.store import executions, projects
from web.store.selection import Selection

blueprint = Blueprint("chosen", __name__)

MOST = 50  # at once


@blueprint.post("/p/<name>/executions/again")
@auth.launch
def again(name: str) -> Response:
    """Run them again, all or none. Resubmitting the form creates nothing."""
    project = projects.by_name(auth.db(), name)
    reruns.run_again(auth.context(), project, _counters(), auth.current_user(), request.args.get("key", ""))
    return _back(name)


@blueprint.post("/p/<name>/executions/stop")
@auth.launch
def stop(name: str) -> Response:
    """Stop those that are unfinished and were not asked to stop before."""
    db, server = auth.db(), auth.server()
    for execution in _chosen(name):
        if execution.state not in FINAL and execution.stop_requested_at is None:
            lifecycle.request_stop(db, server.config.logs_dir, execution.uuid, auth.current_user().username)
    return _back(name)


@blueprint.post("/p/<name>/executions/delete")
@auth.launch
def delete(name: str) -> Response:
    """Delete them. Raises Conflict, and deletes none, if one has not finished."""
    found = _chosen(name)
    if running := [f"#{execution.counter}" for execution in found if execution.state not in FINAL]:
        verb = "has" if len(running) == 1 else "have"
        raise Conflict(f"{', '.join(running)} {verb} not finished: stop it first, or choose others")
    for execution in found:
        lifecycle.delete(auth.db(), execution.uuid)
    return _back(name)


@blueprint.post("/p/<name>/executions/tag")
@auth.launch
def tag(name: str) -> Response:
    """Add tags, separated by commas, to them, or with `?remove` remove these from them, all or none."""
    given = tags.checked(request.form.get("tags", "").split(","))
    found = _chosen(name)
    if "remove" in request.args:
        tags.change(auth.db(), found, removed=given)
    else:
        tags.change(auth.db(), found, added=given)
    return _back(name)


def _chosen(name: str) -> list[Execution]:
    db, counters = auth.db(), _counters()
    if not 0 < len(counters) <= MOST:
        raise InvalidInput(f"choose 1 to {MOST} executions; {len(counters)} are chosen")
    project = projects.by_name(db, name)
    return executions.search(db, Selection(projects=[project.id], counters=counters, order="counter"))[0]


def _counters() -> list[int]:
    return list(dict.fromkeys(filter(None, map(whole_number, request.form.getlist("e")))))


def _back(name: str) -> Response:
    """Return to the view of the table from which the form was sent."""
    listing, came = url_for("executions.listing", name=name), way_back()
    return redirect(came if came.partition("?")[0] == listing else listing, 303)
