"""Actions on the executions that are selected in the table."""

from __future__ import annotations

from flask import Blueprint, redirect, request, url_for
from werkzeug import Response

from core.errors import Conflict, InvalidInput
from core.model import Execution
from core.states import FINAL
from core.text import parse_whole_number
from web.http import auth
from web.http.pages.addresses import way_back
from web.services import reruns
from web.services.executions import lifecycle, tags
from web.store import executions, projects
from web.store.selection import Selection

blueprint = Blueprint("chosen", __name__)

MOST = 50  # most executions that one action may concern


@blueprint.post("/p/<name>/executions/again")
@auth.launch
def rerun(name: str) -> Response:
    """Re-run the chosen executions, all or none. Resubmitting the form creates nothing."""
    project = projects.get_by_name(auth.get_db(), name)
    reruns.run_again(auth.get_context(), project, _counters(), auth.get_current_user(), request.args.get("key", ""))
    return _back(name)


@blueprint.post("/p/<name>/executions/stop")
@auth.launch
def stop(name: str) -> Response:
    """Stop the chosen executions that are unfinished and have no stop request yet."""
    for execution in _chosen(name):
        if execution.state not in FINAL and execution.stop_requested_at is None:
            lifecycle.request_stop(auth.get_context(), execution.uuid, auth.get_current_user().username)
    return _back(name)


@blueprint.post("/p/<name>/executions/delete")
@auth.launch
def delete(name: str) -> Response:
    """Delete the chosen executions. Raises Conflict, and deletes none, if one has not finished."""
    found = _chosen(name)
    if running := [f"#{execution.counter}" for execution in found if execution.state not in FINAL]:
        verb = "has" if len(running) == 1 else "have"
        raise Conflict(f"{', '.join(running)} {verb} not finished: stop it first, or choose others")
    for execution in found:
        lifecycle.delete(auth.get_db(), execution.uuid)
    return _back(name)


@blueprint.post("/p/<name>/executions/tag")
@auth.launch
def tag(name: str) -> Response:
    """Add tags, separated by commas, to the chosen executions; with `?remove` remove them. All or none."""
    given = tags.normalize(request.form.get("tags", "").split(","))
    found = _chosen(name)
    if "remove" in request.args:
        tags.change(auth.get_db(), found, removed=given)
    else:
        tags.change(auth.get_db(), found, added=given)
    return _back(name)


def _chosen(name: str) -> list[Execution]:
    db, counters = auth.get_db(), _counters()
    if not 0 < len(counters) <= MOST:
        raise InvalidInput(f"choose 1 to {MOST} executions; {len(counters)} are chosen")
    project = projects.get_by_name(db, name)
    return executions.search(db, Selection(projects=[project.id], counters=counters, order="counter"))[0]


def _counters() -> list[int]:
    return list(dict.fromkeys(filter(None, map(parse_whole_number, request.form.getlist("e")))))


def _back(name: str) -> Response:
    """Return to the view of the table from which the form was sent."""
    listing, came = url_for("executions.listing", name=name), way_back()
    return redirect(came if came.partition("?")[0] == listing else listing, 303)
