"""The table of a project's executions. The URL holds the whole view: filter, order, columns and place."""

from __future__ import annotations

import uuid

from flask import Blueprint, render_template, request

from core.errors import InvalidInput
from core.text import whole_number
from web.config.filters.terms import FIELDS, Filter, Names, read
from web.http import auth, changes
from web.http.pages import columns, run_table
from web.http.pages.addresses import base_url
from web.http.pages.chosen import MOST as CHOSEN_AT_ONCE
from web.http.pages.paging import query
from web.services.presentation import run_names, troubles
from web.services.triggers import approvals
from web.store import execution_search, projects, saved_views
from web.store.execution_search import Cursor, Found
from web.store.execution_table import OF_KEY, By, Order

blueprint = Blueprint("executions", __name__)

PER_PAGE = 50
EXPORTED = 50_000  # executions in a download
NOTHING = Found(executions=[], before=False, after=False)


@blueprint.get("/p/<name>/")
@auth.read
@changes.shows(changes.RUNS, changes.VALUES, changes.PUSHES)
def listing(name: str) -> str:
    """Show the executions that match the filter `?q=`. A filter that cannot be read matches nothing."""
    db = auth.db()
    project = projects.by_name(db, name)
    names, order = run_names.of_project(db, project.id), requested_order()
    wanted, found, problem, chosen = Filter(), NOTHING, "", run_table.chosen_columns(names, order)
    try:
        wanted = requested_filter(names)
        found = execution_search.page(db, project.id, wanted, order, PER_PAGE, _cursor())
    except InvalidInput as error:
        problem = str(error)
    drawn = run_table.trends_of(db, names, order, found.executions, chosen)
    return render_template(
        "project.html",
        project=project,
        rows=run_table.rows(db, project, found.executions, chosen, drawn),
        trends=drawn,
        some=execution_search.has_executions(db, project.id),
        key=uuid.uuid4().hex,
        found=found,
        filter=request.args.get("q", ""),
        problem=problem,
        chips=[(clause.text, query(q=wanted.without(i))) for i, clause in enumerate(wanted.clauses)],
        names=names,
        fields=FIELDS,
        number=columns.column("number", "Number", order),
        state_column=columns.column("state", "State", order),
        headings=run_table.headings(chosen, order),
        chosen=chosen,
        exported=EXPORTED,
        known_tags=sorted({tag for execution in found.executions for tag in execution.tags}),
        chosen_at_once=CHOSEN_AT_ONCE,
        views=saved_views.of_project(db, project.id),
        picker=run_table.picker(names, chosen) if request.args.get("pick") else None,
        query=query,
        waiting=approvals.overview(db, project),
        troubles=[one for one in troubles.of_projects(db, [project]) if not one.is_approval],
        base_url=base_url(),
        hosted=projects.is_hosted(db, project.id),
    )


def requested_order() -> Order:
    return columns.requested_order(Order(by="number"), (*OF_KEY, By.PARAMETER))


def requested_filter(names: Names) -> Filter:
    return read(request.args.get("q", ""), names)


def _cursor() -> Cursor | None:
    for name, backwards in (("after", False), ("before", True)):
        if (counter := whole_number(request.args.get(name))) is not None:
            return Cursor(counter=counter, backwards=backwards)
    return None
