"""The overview of an execution, and actions on it."""

from __future__ import annotations

from flask import Blueprint, redirect, request, url_for
from werkzeug import Response

from core.errors import Conflict
from core.model import Execution
from core.states import FINAL
from core.text import parse_whole_number
from web.config.metadata import to_number
from web.http import auth, downloads
from web.http.pages import log_query
from web.http.pages.execution_page import PATH, get_project_and_execution, render_tab
from web.services import launch
from web.services.executions import lifecycle
from web.services.presentation import charts, run_differences
from web.services.presentation.log_view import Window
from web.services.presentation.run_differences import RunChanges
from web.store import audit, data, executions, metadata
from web.store.audit import Act, Kind
from web.store.db import Database, transaction

blueprint = Blueprint("execution", __name__)

LINES = 200  # lines of the log that the overview shows at first
OUTPUTS = 5


@blueprint.get(f"{PATH}/")
@auth.read
def show(name: str, counter: int) -> str:
    """Show one chart beside the end of the log, latest metrics, first outputs, and what changed since `?since=`."""
    db = auth.get_db()
    project, execution = get_project_and_execution(db, name, counter)
    latest = metadata.get_latest(db, execution.id)
    count, size = data.sum_outputs(db, execution.id)
    return render_tab(
        "overview",
        project,
        execution,
        window=_log_window(execution),
        keys=[key for key, value in latest.items() if to_number(value) is not None],
        axis=charts.choose_axis(latest),
        spark=charts.draw_main_sparkline(db, execution.id, latest),
        outputs=[(datum, downloads.make_url_name(datum)) for datum in data.list_outputs(db, execution.id, OUTPUTS)],
        outputs_count=count,
        outputs_size=size,
        since=_changes(db, execution),
    )


def _log_window(execution: Execution) -> Window:
    view, line = log_query.make_plain_view(execution), log_query.parse_line_number()
    return view.before(view.at.lines, LINES) if line is None else view.around(line, LINES)


def _changes(db: Database, execution: Execution) -> RunChanges | None:
    since = parse_whole_number(request.args.get("since"))
    earlier = executions.find_previous(db, execution)
    base = earlier if since is None else executions.get_by_counter(db, execution.project_id, since)
    return run_differences.compare_runs(auth.get_context(), base, execution) if base else None


@blueprint.post(f"{PATH}/stop")
@auth.launch
def stop(name: str, counter: int) -> Response:
    """Ask the execution to stop; a second request kills it."""
    _, execution = get_project_and_execution(auth.get_db(), name, counter)
    lifecycle.request_stop(auth.get_context(), execution.uuid, auth.get_current_user().username)
    return redirect(url_for("execution.show", name=name, counter=counter), 303)


@blueprint.post(f"{PATH}/again")
@auth.launch
def rerun(name: str, counter: int) -> Response:
    """Re-run the execution. If it has lost contact with its runner, it is given up first."""
    context, person = auth.get_context(), auth.get_current_user()
    db = context.db
    _, execution = get_project_and_execution(db, name, counter)
    if lifecycle.is_out_of_contact(execution):
        lifecycle.lose(context, execution, f"Given up by {person.username}")
        _, execution = get_project_and_execution(db, name, counter)
    if execution.state not in FINAL:
        raise Conflict(f"#{counter} has not finished: stop it first, or wait")
    with transaction(db):
        repeated = launch.rerun(context, execution, person, "Re-run of")
    return redirect(url_for("execution.show", name=name, counter=repeated.counter), 303)


@blueprint.post(f"{PATH}/priority")
@auth.launch
def prioritise(name: str, counter: int) -> Response:
    """Move a waiting execution to the front of the queue, or back to normal order."""
    db = auth.get_db()
    _, execution = get_project_and_execution(db, name, counter)
    with transaction(db):
        executions.update(db, execution, priority=int(request.form.get("priority") == "1"))
        audit.record(db, Act.CHANGE, Kind.EXECUTION, f"#{execution.counter}", execution.project_id, "priority")
    return redirect(url_for("execution.show", name=name, counter=counter), 303)
