"""The tabs of an execution beside its overview: log, charts, outputs, resources, configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flask import Blueprint, request

from web.config.metadata import to_number
from web.http import auth, downloads, numbers
from web.http.pages import log_query, paging
from web.http.pages.execution_outputs import find_output
from web.http.pages.execution_page import PATH, get_project_and_execution, render_tab
from web.services.presentation import charts, headline, previews, resources
from web.store import data, executions, metadata

blueprint = Blueprint("execution_tabs", __name__)

LOG_LINES = 500
CHARTS = 24
OUTPUTS = 500
PICTURES = 60


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A metadata key with its latest value; `spark` is the polyline of its chart, if it has one."""

    key: str
    value: Any
    spark: str


@blueprint.get(f"{PATH}/log/")
@auth.read
def log(name: str, counter: int) -> str:
    """Show the log's last lines, those around `?line=`, counted from 1, or those before `?before=`."""
    db = auth.get_db()
    project, execution = get_project_and_execution(db, name, counter)
    view = log_query.make_tab_view(execution, log_query.parse_filter())
    line, before = log_query.parse_line_number(), numbers.parse_argument("before", view.at.lines)
    window = view.before(before, LOG_LINES) if line is None else view.around(line, LOG_LINES)
    log_filter = {name: request.args[name] for name in log_query.FILTERS if request.args.get(name)}
    return render_tab(
        "log", project, execution,
        window=window, view=view, shown=log_query.SHOWN, log_filter=log_filter, query=paging.query,
    )  # fmt: skip


@blueprint.get(f"{PATH}/charts/")
@auth.read
def metrics(name: str, counter: int) -> str:
    db = auth.get_db()
    project, execution = get_project_and_execution(db, name, counter)
    latest = metadata.get_latest(db, execution.id)
    axis = charts.choose_axis(latest)
    keys = [key for key, value in latest.items() if to_number(value) is not None]
    axes = [axis] if axis else []
    drawn = [key for key in keys if key != axis][:CHARTS]
    return render_tab(
        "charts",
        project,
        execution,
        axis=axis,
        axes=axes + [key for key in keys if key != axis and headline.is_counter(key)],
        keys=keys,
        thinned=metadata.is_thinned(db, execution.id),
        charted=[
            Measure(key=key, value=latest[key], spark=charts.draw_sparkline(db, execution.id, key)) for key in drawn
        ],
    )


@blueprint.get(f"{PATH}/outputs/")
@auth.read
def outputs(name: str, counter: int) -> str:
    """List the outputs, and show the one with the uuid `?show=`."""
    db = auth.get_db()
    project, execution = get_project_and_execution(db, name, counter)
    count, size = data.sum_outputs(db, execution.id)
    found = [(datum, downloads.make_url_name(datum)) for datum in data.list_outputs(db, execution.id, OUTPUTS)]
    shown, preview = None, None
    if asked := request.args.get("show"):
        shown = find_output(db, execution, asked)
        preview = previews.make_preview(
            downloads.get_content_path(auth.get_server().config.outputs_dir, shown), shown.name
        )
    pictures = [one for one in found if not one[0].purged_at and previews.has_thumbnail(one[0].name, one[0].size)]
    return render_tab(
        "outputs",
        project,
        execution,
        outputs=found,
        outputs_count=count,
        outputs_size=size,
        shown=shown,
        preview=preview,
        pictures=pictures[:PICTURES],
        has_preview=previews.has_preview,
    )


@blueprint.get(f"{PATH}/resources/")
@auth.read
def show_resources(name: str, counter: int) -> str:
    db = auth.get_db()
    project, execution = get_project_and_execution(db, name, counter)
    found = resources.make_charts(db, execution.id, charts.compute_start_us(execution))
    return render_tab("resources", project, execution, resources=found)


@blueprint.get(f"{PATH}/configuration/")
@auth.read
def configuration(name: str, counter: int) -> str:
    """Show everything that the execution was made from, and the history of its states."""
    db = auth.get_db()
    project, execution = get_project_and_execution(db, name, counter)
    return render_tab(
        "configuration",
        project,
        execution,
        history=executions.list_state_changes(db, execution.id),
        retry_of=executions.get(db, execution.retry_of) if execution.retry_of else None,
        retries=executions.list_reruns(db, execution.id),
    )
