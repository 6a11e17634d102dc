"""The overview of an execution, and what one may do with it."""

from __future__ import annotations

from flask import Blueprint, redirect, request, url_for
from werkzeug import Response

from core.errors import Conflict
from core.model import Execution
from core.states import FINAL
from core.text import whole_number
from web.config.metadata import as_number
from web.http import auth, downloads
from web.http.pages import log_query
from web.http.pages.execution_page import PATH, render_tab, requested_execution
from web.services import launch
from web.services.executions import lifecycle
from web.services.presentation import changes, charts
from web.services.presentation.changes import Changes
from web.services.presentation.log_view import Window
from web.store import audit, data, executions, metadata
from web.store.audit import Act, Kind
from web.store.db import Database, transaction

blueprint = Blueprint("execution", __name__)

LINES = 200  # of the log
OUTPUTS = 5


@blueprint.get(f"{PATH}/")
@auth.read
def show(name: str, counter: int) -> str:
    """Show one chart beside the end of the log, latest metrics, first outputs, and what changed since `?since=`."""
    db = auth.db()
    project, execution = requested_execution(db, name, counter)
    latest = metadata.latest(db, execution.id)
    count, size = data.totals(db, execution.id)
    return render_tab(
        "overview",
        project,
        execution,
        window=_log_window(execution),
        keys=[key for key, value in latest.items() if as_number(value) is not None],
        axis=charts.choose_axis(latest),
        spark=charts.main_sparkline(db, execution.id, latest),
        outputs=[(datum, downloads.url_name(datum)) for datum in data.of_execution(db, execution.id, OUTPUTS)],
        outputs_count=count,
        outputs_size=size,
        since=_changes(db, execution),
    )


def _log_window(execution: Execution) -> Window:
    view, line = log_query.plain_view(execution), log_query.asked_line()
    return view.before(view.at.lines, LINES) if line is None else view.around(line, LINES)


def _changes(db: Database, execution: Execution) -> Changes | None:
    since = whole_number(request.args.get("since"))
    earlier = executions.previous(db, execution)
    base = earlier if since is None else executions.by_counter(db, execution.project_id, since)
    return changes.changes(auth.context(), base, execution) if base else None


@blueprint.post(f"{PATH}/stop")
@auth.launch
def stop(name: str, counter: int) -> Response:
    """Ask the execution to stop; a second request kills it."""
    db, server = auth.db(), auth.server()
    _, execution = requested_execution(db, name, counter)
    lifecycle.request_stop(db, server.config.logs_dir, execution.uuid, auth.current_user().username)
    return redirect(url_for("execution.show", name=name, counter=counter), 303)


@blueprint.post(f"{PATH}/again")
@auth.launch
def again(name: str, counter: int) -> Response:
    """Run it again as a new execution. An execution that lost contact with its runner is given up first."""
    context, person = auth.context(), auth.current_user()
    db = context.db
    _, execution = requested_execution(db, name, counter)
    if lifecycle.out_of_contact(execution):
        lifecycle.lose(db, context.config.logs_dir, execution, f"Given up by {person.username}")
        _, execution = requested_execution(db, name, counter)
    if execution.state not in FINAL:
        raise Conflict(f"#{counter} has not finished: stop it first, or wait")
    with transaction(db):
        repeated = launch.rerun(context, execution, person, "Re-run of")
    return redirect(url_for("execution.show", name=name, counter=repeated.counter), 303)


@blueprint.post(f"{PATH}/priority")
@auth.launch
def prioritise(name: str, counter: int) -> Response:
    """Move a waiting execution to the front of the queue, or back to normal order."""
    db = auth.db()
    _, execution = requested_execution(db, name, counter)
    with transaction(db):
        executions.update(db, execution, priority=int(request.form.get("priority") == "1"))
        audit.record(db, Act.CHANGE, Kind.EXECUTION, f"#{execution.counter}", execution.project_id, "priority")
    return redirect(url_for("execution.show", name=name, counter=counter), 303)
