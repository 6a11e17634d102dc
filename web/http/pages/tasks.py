"""The tasks of a project; and one task with the progress of its search, its best results and its executions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from flask import Blueprint, redirect, render_template, request, url_for
from werkzeug import Response

from core.groups import Task
from core.model import Execution, Project
from web.http import auth, changes
from web.http.pages import columns, groups
from web.http.pages.paging import ListPage, query
from web.services import tasks as service
from web.services.presentation import charts, execution_status, parallel, run_names, search_facts
from web.services.presentation import objective as goals
from web.services.presentation.objective import Objective
from web.services.presentation.origins import format_origin
from web.store import commits, execution_table, metadata, pipelines, projects, tasks, trials
from web.store.db import Database, transaction
from web.store.execution_table import By, SortOrder, TrialFilter
from web.store.selection import Selection
from web.store.trials import Trial

blueprint = Blueprint("tasks", __name__)

PATH = "/p/<name>/tasks/<int(max=2147483647):counter>"
PER_PAGE = 50
PARAMETERS, KEYS = 8, 6  # most columns of parameters and of metadata keys
TABLE = "#h-trials"
MORE, LESS = "highest", "lowest"


@dataclass(frozen=True, kw_only=True)
class TrialRow:
    execution: Execution
    latest: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class SearchResults:
    """Results of a search: `series` is the data of its chart; `parallel` is None if there is nothing to compare."""

    goal: Objective | None
    best: Trial | None
    differing: list[str]
    series: dict[str, list[Any]]
    parallel: parallel.Parallel | None


@blueprint.get("/p/<name>/tasks/")
@auth.read
@changes.shows(changes.RUNS, changes.VALUES)
def listing(name: str) -> str:
    db = auth.get_db()
    project = projects.get_by_name(db, name)
    page = ListPage.requested(PER_PAGE)
    found, total = tasks.search(db, Selection(projects=[project.id], limit=page.size, offset=page.offset))
    return render_template(
        "tasks.html",
        project=project,
        lines=groups.build_task_lines(db, found),
        pipelines=pipelines.map_by_node(db, [task.pipeline_node_id for task in found if task.pipeline_node_id]),
        commits=commits.get_many(db, {task.commit_id for task in found}),
        page=page.with_total(total),
        hosted=not total and projects.is_hosted(db, project.id),
    )


@blueprint.get(f"{PATH}/")
@auth.read
@changes.shows(changes.RUNS, changes.VALUES)
def show(name: str, counter: int) -> str:
    """Show the page; `?metric=` and `?better=` compare by another metadata key than the task's own."""
    db = auth.get_db()
    project, task = _requested_task(db, name, counter)
    found = _found(db, task)
    pipeline, node = groups.find_place_of_node(db, task.pipeline_node_id)
    return render_template(
        "task.html",
        project=project,
        task=task,
        commit=commits.get(db, task.commit_id),
        origin=format_origin(db, task),
        pipeline=pipeline,
        node=node,
        progress=groups.measure_progress(task, trials.count_by_state(db, [task.id])[task.id]),
        found=found,
        spark=charts.draw_polyline(_points(found.series)),
        keys=trials.list_keys_by_task(db, [task.id])[task.id],
        facts=search_facts.list_facts(search_facts.find_blueprint(task)),
        query=query,
        **_table(db, task, found),
    )


@blueprint.post(f"{PATH}/stop")
@auth.launch
def stop(name: str, counter: int) -> Response:
    """Stop the whole task; the sweep does it."""
    db = auth.get_db()
    _, task = _requested_task(db, name, counter)
    with transaction(db):
        service.request_stop(auth.get_context(), task, auth.get_current_user().username)
    return redirect(url_for("tasks.show", name=name, counter=counter), 303)


def _requested_task(db: Database, name: str, counter: int) -> tuple[Project, Task]:
    project = projects.get_by_name(db, name)
    return project, tasks.get_by_counter(db, project.id, counter)


def _found(db: Database, task: Task) -> SearchResults:
    goal = _goal(db, task)
    tried = trials.list_for_task(db, task.id, goal.key if goal else "")
    differing = run_names.list_differing_parameters([trial.parameters for trial in tried])
    return SearchResults(
        goal=goal,
        best=goals.map_best_by_task(db, {task.id: goal}).get(task.id) if goal else None,
        differing=differing,
        series=_series(goal, tried) if goal else {},
        parallel=parallel.draw_chart(goal, tried, differing) if goal else None,
    )


def _goal(db: Database, task: Task) -> Objective | None:
    goal = goals.map_objectives_by_task(db, [task]).get(task.id)
    key, better = request.args.get("metric", ""), request.args.get("better", "")
    if key and (goal is None or key != goal.key):
        goal = goals.make_objective(key)
    if goal is not None and better in (MORE, LESS):
        goal = replace(goal, less=better == LESS, target=None)
    return goal


def _series(goal: Objective, tried: Sequence[Trial]) -> dict[str, list[Any]]:
    return {
        "x": [trial.trial + 1 for trial in tried],
        "y": [trial.number for trial in tried],
        "best": list(goals.compute_best_so_far(goal, tried)),
    }


def _points(series: dict[str, list[Any]]) -> list[tuple[float, float]]:
    """Return the line of its chart, for pages without scripts."""
    pairs = zip(series.get("x", ()), series.get("best", ()), strict=True)
    return [(x, best) for x, best in pairs if best is not None]


def _table(db: Database, task: Task, found: SearchResults) -> dict[str, Any]:
    """Return one page of the executions, sorted by any column."""
    order = columns.parse_order(SortOrder(by="trial", descending=False), (By.KEY, By.PARAMETER))
    status = request.args.get("state", "")
    wanted = TrialFilter(task_id=task.id, status=status if status in execution_status.STATUSES else None)
    page = ListPage.requested(PER_PAGE)
    executions, total = execution_table.get_page(db, wanted, order, page.size, page.offset)
    latest = metadata.map_latest_by_execution(db, [execution.id for execution in executions])
    rows = [TrialRow(execution=execution, latest=latest.get(execution.id, {})) for execution in executions]
    keys = columns.sort_keys_by_frequency(row.latest for row in rows)[:KEYS]
    first = [found.goal.key] if found.goal else []
    first += [order.by] if order.kind is By.KEY else []
    shown = list(dict.fromkeys([*first, *keys]))
    return {
        "rows": rows,
        "page": page.with_total(total),
        "status": wanted.status,
        "columns": {
            name: columns.make_column(name, name.capitalize(), order, anchor=TABLE)
            for name in ("number", "trial", "state", "duration")
        },
        "parameter_columns": [
            (name, columns.make_column(name, name, order, By.PARAMETER, TABLE)) for name in found.differing[:PARAMETERS]
        ],
        "key_columns": [(key, columns.make_column(key, key, order, By.KEY, TABLE)) for key in shown],
    }
