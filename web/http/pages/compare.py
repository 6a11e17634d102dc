"""Executions side by side. The URL holds the whole view: executions, baseline, and the axes of charts and scatter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any

import orjson
from flask import Blueprint, Response, render_template, request

from core.model import Execution, Project
from core.text import parse_whole_number
from web.http import auth
from web.http.pages.paging import query
from web.services.presentation import charts, comparison, headline, overlay, parallel, previews, run_differences
from web.services.presentation.comparison import ComparedLine
from web.services.presentation.objective import Objective, make_objective
from web.services.presentation.overlay import OverlayDrawing
from web.store import commits, data, executions, metadata, projects
from web.store.db import Database
from web.store.selection import Selection
from web.store.trials import Trial

blueprint = Blueprint("compare", __name__)

MOST = 20
CHARTS = 6
LINES = 200  # most lines of the table
POINTS = 60  # parts of a series, of which each has its peaks
NAMES = 12  # most names of images


@blueprint.get("/p/<name>/compare/")
@auth.read
def show(name: str) -> str:
    """Compare the executions `?e=`, the baseline `?base=` first, else the first of them."""
    db = auth.get_db()
    project = projects.get_by_name(db, name)
    asked = _requested_counters()
    found = _found(db, project, asked)
    latest = metadata.map_latest_by_execution(db, [execution.id for execution in found])
    of = commits.get_many(db, {e.commit_id for e in found})
    lines = comparison.compare_executions(found, of, latest)
    numbers = comparison.map_numbers_by_name(lines)
    metrics = [name.removeprefix("m.") for name in numbers if name.startswith("m.")]
    goal = make_objective(metrics[0]) if metrics else None
    x, y = _axes(list(numbers), lines)
    axis, axes = _axis(found, latest)
    return render_template(
        "compare.html",
        project=project,
        found=found,
        missing=[f"#{counter}" for counter in asked[:MOST] if counter not in {e.counter for e in found}],
        left_out=len(asked[MOST:]),
        differing=[line for line in lines if line.differs],
        code_changes=run_differences.list_code_changes(auth.get_context(), found, of) if found else [],
        same=[line for line in lines if not line.differs],
        most_lines=LINES,
        charts=_charts(db, found, [key for key in metrics if not headline.is_counter(key)][:CHARTS], axis),
        axis=axis,
        axes_of_charts=axes,
        axes=list(numbers),
        x=x,
        y=y,
        scatter=overlay.draw_scatter(numbers[x], numbers[y]) if x and y else None,
        numbers=numbers,
        goal=goal,
        parallel=_parallel(goal, found, lines, numbers),
        pictures=_pictures(db, found),
        most_names=NAMES,
        query=query,
        most=MOST,
        counters=[execution.counter for execution in found],
    )


def _found(db: Database, project: Project, asked: Sequence[int]) -> list[Execution]:
    counters = asked[:MOST]
    some, _ = executions.search(db, Selection(projects=[project.id], counters=counters)) if counters else ([], 0)
    base = parse_whole_number(request.args.get("base"))
    return sorted(some, key=lambda execution: (execution.counter != base, counters.index(execution.counter)))


def _axis(found: Sequence[Execution], latest: Mapping[int, Mapping[str, Any]]) -> tuple[str, list[str]]:
    """Return the x axis of the charts, and those to choose from; the usual one is the counter that all have."""
    counters = list(dict.fromkeys(key for values in latest.values() for key in values if headline.is_counter(key)))
    axes = [*(f"key.{key}" for key in counters), charts.BY_NUMBER, charts.BY_TIME]
    usual = {charts.choose_axis(latest[execution.id]) for execution in found if latest.get(execution.id)}
    (key,) = usual if len(usual) == 1 else (None,)
    asked = request.args.get("axis")
    return asked if asked in axes else f"key.{key}" if key else charts.BY_NUMBER, axes


def _charts(
    db: Database, found: Sequence[Execution], keys: Sequence[str], axis: str
) -> list[tuple[str, OverlayDrawing]]:
    """Return the charts of metrics in which some execution has several values."""
    places = {execution.id: index for index, execution in enumerate(found)}
    drawn: list[tuple[str, OverlayDrawing]] = []
    for key in keys:
        series = charts.list_series_by_execution(db, found, key, axis.removeprefix("key."), POINTS)
        drawing = overlay.draw_lines({places[of]: series[of] for of in sorted(series, key=places.__getitem__)})
        if drawing and any(len(points) > 1 for points in series.values()):
            drawn.append((key, drawing))
    return drawn


@blueprint.get("/p/<name>/compare/series")
@auth.read
def series(name: str) -> Response:
    """Return the points that the chart of the metric `?key=` draws of the executions `?e=`, as JSON by their number."""
    db = auth.get_db()
    found = _found(db, projects.get_by_name(db, name), _requested_counters())
    key, axis = request.args.get("key", ""), request.args.get("axis", charts.BY_NUMBER)
    series = charts.list_series_by_execution(db, found, key, axis.removeprefix("key."), POINTS) if found else {}
    answer = {str(e.counter): series[e.id] for e in found if e.id in series}
    return Response(orjson.dumps(answer), mimetype="application/json")


def _requested_counters() -> list[int]:
    return list(dict.fromkeys(filter(None, map(parse_whole_number, request.args.getlist("e")))))


def _pictures(db: Database, found: Sequence[Execution]) -> list[tuple[str, dict[int, str]]]:
    """Return (name, uuids by index of the execution) of images that several executions wrote; NAMES + 1 at most."""
    if len(found) < 2:
        return []
    places = {execution.id: index for index, execution in enumerate(found)}
    files = data.list_common_files(db, list(places), previews.PICTURES, previews.THUMBNAIL_BYTES, NAMES + 1)
    return [
        (name, {places[datum.execution_id]: datum.uuid for datum in group if datum.execution_id})
        for name, group in groupby(files, attrgetter("name"))
    ]


def _axes(names: Sequence[str], lines: Sequence[ComparedLine]) -> tuple[str, str]:
    """Return the axes of the scatter: those of the URL, or a parameter that differs and the first metric."""
    asked = [request.args.get("x", ""), request.args.get("y", "")]
    differing = [f"p.{line.name}" for line in lines if line.kind == comparison.PARAMETER and line.differs]
    usual_x = next((name for name in (*differing, *names) if name in names), "")
    usual_y = next((name for name in names if name.startswith("m.")), usual_x)
    x, y = (name if name in names else usual for name, usual in zip(asked, (usual_x, usual_y), strict=True))
    return x, y


def _parallel(
    goal: Objective | None,
    found: Sequence[Execution],
    lines: Sequence[ComparedLine],
    numbers: dict[str, list[float | None]],
) -> parallel.Parallel | None:
    if goal is None:
        return None
    differing = [line.name for line in lines if line.kind == comparison.PARAMETER and line.differs]
    values = numbers.get(f"m.{goal.key}", [None] * len(found))
    tried = [
        Trial(execution_id=e.id, counter=e.counter, trial=0, state=e.state, parameters=e.parameters, number=number)
        for e, number in zip(found, values, strict=True)
    ]
    return parallel.draw_chart(goal, tried, differing)
