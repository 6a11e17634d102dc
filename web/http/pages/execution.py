"""One execution: its state, log, metadata, outputs, and everything it was made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flask import Blueprint, redirect, render_template, request, url_for
from markupsafe import Markup
from werkzeug import Response

from core import clock
from core.errors import Conflict
from core.model import Execution, Project
from core.states import FINAL
from core.text import whole_number
from web.config import metadata as rules
from web.http import auth, downloads
from web.http.pages import groups
from web.services import launch
from web.services.executions import lifecycle
from web.services.presentation import charts, execution_status, loglines, resources
from web.store import audit, commits, data, executions, logs, metadata, projects
from web.store.audit import Act, Kind
from web.store.db import Database, transaction
from web.store.logs import LogLength

blueprint = Blueprint("execution", __name__)

PATH = "/p/<name>/executions/<int(max=2147483647):counter>"
WINDOW_LINES = 2000  # log lines on the page, and in each block fetched later
CHARTS = 24
OUTPUTS = 500


@dataclass(frozen=True, kw_only=True)
class Window:
    """The log lines on the page: from `first` up to `next`, of `total`, counted from 0; `partial` are unfinished."""

    first: int
    next: int
    total: int
    html: Markup
    partial: Markup


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A metadata key with its latest value; `spark` is the polyline of its chart, if it has one."""

    key: str
    value: Any
    spark: str


@blueprint.get(f"{PATH}/")
@auth.read
def show(name: str, counter: int) -> str:
    """Show the page with the log's last lines, or with those around `?line=`, counted from 1."""
    db = auth.db()
    project, execution = requested_execution(db, name, counter)
    at = logs.length(db, execution)
    return render_template(
        "execution.html",
        project=project,
        execution=execution,
        commit=commits.get(db, execution.commit_id),
        status=execution_status.execution_status(auth.context(), execution),
        place=groups.places(db, [execution]).get(execution.id),
        window=_window(execution, at, _first_line(at)),
        position=f"{at.lines}-{metadata.count(db, execution.id)}",
        final=execution.state in FINAL,
        **_parts(db, execution),
    )


@blueprint.get(f"{PATH}/parts")
@auth.read
def parts(name: str, counter: int) -> str:
    """Return the parts of an open page that change with the state or with a new metadata key."""
    db = auth.db()
    project, execution = requested_execution(db, name, counter)
    commit = commits.get(db, execution.commit_id)
    return render_template(
        "_execution_parts.html", project=project, execution=execution, commit=commit, **_parts(db, execution)
    )


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
        repeated = launch.again(context, execution, person, "Re-run of")
    return redirect(url_for("execution.show", name=name, counter=repeated.counter), 303)


@blueprint.post(f"{PATH}/priority")
@auth.launch
def prioritise(name: str, counter: int) -> Response:
    """Move a waiting execution to the front of the queue, or back to normal order."""
    db = auth.db()
    _, execution = requested_execution(db, name, counter)
    with transaction(db):
        executions.update(db, execution, priority=int(request.form.get("priority") == "1"))
        audit.record(db, Act.CHANGE, Kind.EXECUTION, f"#{counter}", execution.project_id, "priority")
    return redirect(url_for("execution.show", name=name, counter=counter), 303)


def requested_execution(db: Database, name: str, counter: int) -> tuple[Project, Execution]:
    project = projects.by_name(db, name)
    return project, executions.by_counter(db, project.id, counter)


def log_window(execution: Execution, at: LogLength, first: int, count: int) -> Markup:
    lines = logs.read(auth.server().config.logs_dir, execution, at, first, count)
    return Markup(loglines.chunks(lines))  # noqa: S704  (escaped there)


def start_us(execution: Execution) -> int:
    """Return the start of the time axis of its charts, in microseconds."""
    return int(clock.parse(execution.started_at or execution.created_at).timestamp() * 1e6)


def _window(execution: Execution, at: LogLength, first: int) -> Window:
    html = log_window(execution, at, first, WINDOW_LINES)
    partial = Markup(loglines.partial(at.partial))  # noqa: S704  (escaped there)
    return Window(first=first, next=min(first + WINDOW_LINES, at.lines), total=at.lines, html=html, partial=partial)


def _first_line(at: LogLength) -> int:
    tail = max(0, at.lines - WINDOW_LINES)
    line = whole_number(request.args.get("line"))
    return tail if line is None else min(max(0, line - 1 - WINDOW_LINES // 4), tail)


def _parts(db: Database, execution: Execution) -> dict[str, Any]:
    latest = metadata.latest(db, execution.id)
    axis = charts.choose_axis(latest)
    drawn = [key for key, value in latest.items() if key != axis and rules.as_number(value) is not None][:CHARTS]
    count, size = data.totals(db, execution.id)
    return {
        "latest": latest,
        "axis": axis,
        "thinned": metadata.thinned(db, execution.id),
        "charted": [
            Measure(key=key, value=latest[key], spark=charts.sparkline(db, execution.id, key)) for key in drawn
        ],
        "resources": resources.resource_charts(db, execution.id, start_us(execution)),
        "outputs": [(datum, downloads.url_name(datum)) for datum in data.of_execution(db, execution.id, OUTPUTS)],
        "outputs_count": count,
        "outputs_size": size,
        "history": executions.state_changes(db, execution.id),
        "retry_of": executions.get(db, execution.retry_of) if execution.retry_of else None,
        "retries": executions.retried_by(db, execution.id),
    }
