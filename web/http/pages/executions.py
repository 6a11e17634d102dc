"""The table of a project's executions. The URL holds the whole view: filters, order and page."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, redirect, render_template, request, url_for
from werkzeug import Response

from core.model import Commit, Execution, Project
from core.states import UNFINISHED
from core.text import whole_number
from web.http import auth
from web.http.pages import columns, groups
from web.http.pages.addresses import base_url
from web.http.pages.groups import Place
from web.http.pages.paging import Page, query
from web.services import reruns
from web.services.presentation import execution_status, troubles
from web.services.triggers import approvals
from web.store import commits, execution_table, executions, metadata, projects, tasks
from web.store.db import Database
from web.store.execution_table import By, Filter, Order

blueprint = Blueprint("executions", __name__)

PER_PAGE = 50
COLUMNS = ("number", "state", "step", "duration", "created")
PARAMETERS, KEYS = 4, 5  # columns


@dataclass(frozen=True, kw_only=True)
class ExecutionRow:
    execution: Execution
    commit: Commit
    latest: dict[str, Any]
    place: Place | None


@blueprint.get("/p/<name>/")
@auth.read
def listing(name: str) -> str:
    db = auth.db()
    project = projects.by_name(db, name)
    order, wanted, page = columns.requested_order(Order(by="number")), _filter(db, project), Page.asked(PER_PAGE)
    found, total = execution_table.page(db, wanted, order, page.size, page.offset)
    rows = _rows(db, found)
    counts = executions.counts(db, [project.id])[project.id]
    known_keys = columns.by_frequency(row.latest for row in rows)
    keys = _shown_keys(known_keys, order)
    return render_template(
        "project.html",
        project=project,
        rows=rows,
        key=uuid.uuid4().hex,
        page=page.of(total),
        counts=counts,
        wanted=wanted,
        task=tasks.get(db, wanted.task_id) if wanted.task_id is not None else None,
        steps=execution_table.steps(db, project.id),
        columns={name: columns.column(name, name.capitalize(), order) for name in COLUMNS},
        keys=[(key, columns.column(key, key, order, By.KEY)) for key in keys],
        all_keys=[(columns.PREFIXES[By.KEY] + key, key) for key in known_keys],
        parameters=columns.differing_parameters([row.execution.parameters for row in rows])[:PARAMETERS],
        sort=columns.name(order),
        query=query,
        waiting=approvals.overview(db, project),
        troubles=[one for one in troubles.of_projects(db, [project]) if not one.is_approval],
        live=any(state in counts for state in UNFINISHED),
        base_url=base_url(),
        hosted=projects.is_hosted(db, project.id),
    )


@blueprint.post("/p/<name>/executions/again")
@auth.launch
def again(name: str) -> Response:
    """Run the chosen executions again, all or none. The same form makes them once."""
    project = projects.by_name(auth.db(), name)
    counters = list(dict.fromkeys(filter(None, map(whole_number, request.form.getlist("counter")))))
    key = request.form.get("key", "")
    reruns.run_again(auth.context(), project, counters, auth.current_user(), key)
    return redirect(url_for("executions.listing", name=name), 303)


def _rows(db: Database, found: Sequence[Execution]) -> list[ExecutionRow]:
    of = commits.get_many(db, {execution.commit_id for execution in found})
    latest = metadata.latest_of(db, [execution.id for execution in found])
    places = groups.places(db, found)
    return [
        ExecutionRow(execution=e, commit=of[e.commit_id], latest=latest.get(e.id, {}), place=places.get(e.id))
        for e in found
    ]


def _shown_keys(known: Sequence[str], order: Order) -> list[str]:
    shown = list(known[:KEYS])
    return [*shown, order.by] if order.kind is By.KEY and order.by not in shown else shown


def _filter(db: Database, project: Project) -> Filter:
    status, task = request.args.get("state", ""), request.args.get("task", "")
    return Filter(
        project_id=project.id,
        step=request.args.get("step") or None,
        status=status if status in execution_status.STATUSES else None,
        task_id=tasks.by_counter(db, project.id, whole_number(task) or 0).id if task else None,
    )
