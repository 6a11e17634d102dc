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
from web.http.pages.paging import Page, query
from web.services import tasks as service
from web.services.presentation import charts, execution_status, parallel, run_names, search_facts
from web.services.presentation import objective as goals
from web.services.presentation.objective import Objective
from web.services.presentation.origins import origin_text
from web.store import commits, execution_table, metadata, pipelines, projects, tasks, trials
from web.store.db import Database, transaction
from web.store.execution_table import By, Filter, Order
from web.store.selection import Selection
from web.store.trials import Trial

blueprint = Blueprint("tasks", __name__)

PATH = "/p/<name>/tasks/<int(max=2147483647):counter>"
PER_PAGE = 50
PARAMETERS, KEYS = 8, 6  # columns
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
    db = auth.db()
    project = projects.by_name(db, name)
    page = Page.asked(PER_PAGE)
    found, total = tasks.search(db, Selection(projects=[project.id], limit=page.size, offset=page.offset))
    return render_template(
        "tasks.html",
        project=project,
        lines=groups.task_lines(db, found),
        pipelines=pipelines.of_nodes(db, [task.pipeline_node_id for task in found if task.pipeline_node_id]),
        commits=commits.get_many(db, {task.commit_id for task in found}),
        page=page.of(total),
        hosted=not total and projects.is_hosted(db, project.id),
    )


@blueprint.get(f"{PATH}/")
@auth.read
@changes.shows(changes.RUNS, changes.VALUES)
def show(name: str, counter: int) -> str:
    """Show the page; `?metric=` and `?better=` compare by another metadata key than the task's own."""
    db = auth.db()
    project, task = _asked(db, name, counter)
    found = _found(db, task)
    pipeline, node = groups.place_of_node(db, task.pipeline_node_id)
    return render_template(
        "task.html",
        project=project,
        task=task,
        commit=commits.get(db, task.commit_id),
        origin=origin_text(db, task),
        pipeline=pipeline,
        node=node,
        progress=groups.progress(task, trials.counts(db, [task.id])[task.id]),
        found=found,
        spark=charts.polyline(_points(found.series)),
        keys=trials.keys(db, [task.id])[task.id],
        facts=search_facts.search_facts(search_facts.declared_search(task)),
        query=query,
        **_table(db, task, found),
    )


@blueprint.post(f"{PATH}/stop")
@auth.launch
def stop(name: str, counter: int) -> Response:
    """Stop the whole task; the sweep does it."""
    db = auth.db()
    _, task = _asked(db, name, counter)
    with transaction(db):
        service.request_stop(auth.context(), task, auth.current_user().username)
    return redirect(url_for("tasks.show", name=name, counter=counter), 303)


def _asked(db: Database, name: str, counter: int) -> tuple[Project, Task]:
    project = projects.by_name(db, name)
    return project, tasks.by_counter(db, project.id, counter)


def _found(db: Database, task: Task) -> SearchResults:
    goal = _goal(db, task)
    tried = trials.trials_of_task(db, task.id, goal.key if goal else "")
    differing = run_names.differing_parameters([trial.parameters for trial in tried])
    return SearchResults(
        goal=goal,
        best=goals.best_trials(db, {task.id: goal}).get(task.id) if goal else None,
        differing=differing,
        series=_series(goal, tried) if goal else {},
        parallel=parallel.parallel_coordinates(goal, tried, differing) if goal else None,
    )


def _goal(db: Database, task: Task) -> Objective | None:
    goal = goals.task_objectives(db, [task]).get(task.id)
    key, better = request.args.get("metric", ""), request.args.get("better", "")
    if key and (goal is None or key != goal.key):
        goal = goals.objective_of_key(key)
    if goal is not None and better in (MORE, LESS):
        goal = replace(goal, less=better == LESS, target=None)
    return goal


def _series(goal: Objective, tried: Sequence[Trial]) -> dict[str, list[Any]]:
    return {
        "x": [trial.trial + 1 for trial in tried],
        "y": [trial.number for trial in tried],
        "best": list(goals.best_so_far(goal, tried)),
    }


def _points(series: dict[str, list[Any]]) -> list[tuple[float, float]]:
    """Return the line of its chart, for pages without scripts."""
    pairs = zip(series.get("x", ()), series.get("best", ()), strict=True)
    return [(x, best) for x, best in pairs if best is not None]


def _table(db: Database, task: Task, found: SearchResults) -> dict[str, Any]:
    """Return one page of the executions, sorted by any column."""
    order = columns.requested_order(Order(by="trial", descending=False), (By.KEY, By.PARAMETER))
    status = request.args.get("state", "")
    wanted = Filter(task_id=task.id, status=status if status in execution_status.STATUSES else None)
    page = Page.asked(PER_PAGE)
    executions, total = execution_table.page(db, wanted, order, page.size, page.offset)
    latest = metadata.latest_of(db, [execution.id for execution in executions])
    rows = [TrialRow(execution=execution, latest=latest.get(execution.id, {})) for execution in executions]
    keys = columns.by_frequency(row.latest for row in rows)[:KEYS]
    first = [found.goal.key] if found.goal else []
    first += [order.by] if order.kind is By.KEY else []
    shown = list(dict.fromkeys([*first, *keys]))
    return {
        "rows": rows,
        "page": page.of(total),
        "status": wanted.status,
        "columns": {
            name: columns.column(name, name.capitalize(), order, anchor=TABLE)
            for name in ("number", "trial", "state", "duration")
        },
        "parameter_columns": [
            (name, columns.column(name, name, order, By.PARAMETER, TABLE)) for name in found.differing[:PARAMETERS]
        ],
        "key_columns": [(key, columns.column(key, key, order, By.KEY, TABLE)) for key in shown],
    }
