"""Executions side by side. The URL holds the whole view: executions, baseline, and the axes of the scatter."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter

import orjson
from flask import Blueprint, Response, render_template, request

from core.model import Execution, Project
from core.text import whole_number
from web.http import auth
from web.http.pages.paging import query
from web.services.presentation import changes, comparison, headline, overlay, parallel, previews
from web.services.presentation.comparison import Line
from web.services.presentation.objective import Objective, objective_of_key
from web.services.presentation.overlay import Drawing
from web.store import commits, data, executions, metadata, metadata_of_many, projects
from web.store.db import Database
from web.store.selection import Selection
from web.store.trials import Trial

blueprint = Blueprint("compare", __name__)

MOST = 20
CHARTS = 6
LINES = 200  # of the table
POINTS = 60  # parts of a series
NAMES = 12  # of images


@blueprint.get("/p/<name>/compare/")
@auth.read
def show(name: str) -> str:
    """Compare the executions `?e=`, the baseline `?base=` first, else the first of them."""
    db = auth.db()
    project = projects.by_name(db, name)
    asked = _asked()
    found = _found(db, project, asked)
    latest = metadata.latest_of(db, [execution.id for execution in found])
    of = commits.get_many(db, {e.commit_id for e in found})
    lines = comparison.lines(found, of, latest)
    numbers = comparison.numeric_names(lines)
    metrics = [name.removeprefix("m.") for name in numbers if name.startswith("m.")]
    goal = objective_of_key(metrics[0]) if metrics else None
    x, y = _axes(list(numbers), lines)
    return render_template(
        "compare.html",
        project=project,
        found=found,
        missing=[f"#{counter}" for counter in asked[:MOST] if counter not in {e.counter for e in found}],
        left_out=len(asked[MOST:]),
        differing=[line for line in lines if line.differs],
        code_changes=changes.code_changes(auth.context(), found, of) if found else [],
        same=[line for line in lines if not line.differs],
        most_lines=LINES,
        charts=_charts(db, found, [key for key in metrics if not headline.is_counter(key)][:CHARTS]),
        axes=list(numbers),
        x=x,
        y=y,
        scatter=overlay.scatter(numbers[x], numbers[y]) if x and y else None,
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
    base = whole_number(request.args.get("base"))
    return sorted(some, key=lambda execution: (execution.counter != base, counters.index(execution.counter)))


def _charts(db: Database, found: Sequence[Execution], keys: Sequence[str]) -> list[tuple[str, Drawing]]:
    """Return the charts of metrics in which some execution has several values."""
    places = {execution.id: index for index, execution in enumerate(found)}
    charts: list[tuple[str, Drawing]] = []
    for key in keys:
        series = metadata_of_many.series_of(db, list(places), key, POINTS)
        pairs = {places[of]: [(point.seq, point.value) for point in points] for of, points in series.items()}
        drawing = overlay.lines(dict(sorted(pairs.items())))
        if drawing and any(len(points) > 1 for points in series.values()):
            charts.append((key, drawing))
    return charts


@blueprint.get("/p/<name>/compare/series")
@auth.read
def series(name: str) -> Response:
    """Return the numbers that the chart of the metric `?key=` draws of the executions `?e=`, as JSON by their number."""
    db = auth.db()
    found = _found(db, projects.by_name(db, name), _asked())
    series = metadata_of_many.series_of(db, [e.id for e in found], request.args.get("key", ""), POINTS) if found else {}
    answer = {str(e.counter): [[p.seq, p.value] for p in series[e.id]] for e in found if e.id in series}
    return Response(orjson.dumps(answer), mimetype="application/json")


def _asked() -> list[int]:
    return list(dict.fromkeys(filter(None, map(whole_number, request.args.getlist("e")))))


def _pictures(db: Database, found: Sequence[Execution]) -> list[tuple[str, dict[int, str]]]:
    """Return (name, uuids by index of the execution) of images that several executions wrote; NAMES + 1 at most."""
    if len(found) < 2:
        return []
    places = {execution.id: index for index, execution in enumerate(found)}
    files = data.common_files(db, list(places), previews.PICTURES, previews.THUMBNAIL_BYTES, NAMES + 1)
    return [
        (name, {places[datum.execution_id]: datum.uuid for datum in group if datum.execution_id})
        for name, group in groupby(files, attrgetter("name"))
    ]


def _axes(names: Sequence[str], lines: Sequence[Line]) -> tuple[str, str]:
    """Return the axes of the scatter: those of the URL, or a parameter that differs and the first metric."""
    asked = [request.args.get("x", ""), request.args.get("y", "")]
    differing = [f"p.{line.name}" for line in lines if line.kind == comparison.PARAMETER and line.differs]
    usual_x = next((name for name in (*differing, *names) if name in names), "")
    usual_y = next((name for name in names if name.startswith("m.")), usual_x)
    x, y = (name if name in names else usual for name, usual in zip(asked, (usual_x, usual_y), strict=True))
    return x, y


def _parallel(
    goal: Objective | None, found: Sequence[Execution], lines: Sequence[Line], numbers: dict[str, list[float | None]]
) -> parallel.Parallel | None:
    if goal is None:
        return None
    differing = [line.name for line in lines if line.kind == comparison.PARAMETER and line.differs]
    values = numbers.get(f"m.{goal.key}", [None] * len(found))
    tried = [
        Trial(execution_id=e.id, counter=e.counter, trial=0, state=e.state, parameters=e.parameters, number=number)
        for e, number in zip(found, values, strict=True)
    ]
    return parallel.parallel_coordinates(goal, tried, differing)
