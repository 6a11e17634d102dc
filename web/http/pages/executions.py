"""The table of a project's executions. The URL holds the whole view: filter, order, columns and place."""

from __future__ import annotations

import uuid

from flask import Blueprint, render_template, request

from core.errors import InvalidInput
from core.text import parse_whole_number
from web.config.filters.terms import FIELDS, Filter, Names, read
from web.config.overrides import TAG_CHARS
from web.http import auth, changes
from web.http.pages import columns, run_table
from web.http.pages.addresses import get_base_url
from web.http.pages.chosen import MOST as CHOSEN_AT_ONCE
from web.http.pages.paging import query
from web.services.presentation import run_names, troubles
from web.services.triggers import approvals
from web.store import execution_search, projects, saved_views
from web.store.execution_search import Cursor, FoundExecutions
from web.store.execution_table import OF_KEY, By, SortOrder

blueprint = Blueprint("executions", __name__)

PER_PAGE = 50
EXPORTED = 50_000  # most executions in a download
NOTHING = FoundExecutions(executions=[], before=False, after=False)


@blueprint.get("/p/<name>/")
@auth.read
@changes.shows(changes.RUNS, changes.VALUES, changes.PUSHES)
def listing(name: str) -> str:
    """Show the executions that match the filter `?q=`. A filter that cannot be read matches nothing."""
    db = auth.get_db()
    project = projects.get_by_name(db, name)
    names, order = run_names.load_run_names(db, project.id), parse_order()
    wanted, found, problem, chosen = Filter(), NOTHING, "", run_table.choose_columns(names, order)
    try:
        wanted = parse_filter(names)
        found = execution_search.get_page(db, project.id, wanted, order, PER_PAGE, _cursor())
    except InvalidInput as error:
        problem = str(error)
    drawn = run_table.load_trends(db, names, order, found.executions, chosen)
    return render_template(
        "project.html",
        project=project,
        rows=run_table.build_rows(db, project, found.executions, chosen, drawn),
        trends=drawn,
        some=execution_search.has_executions(db, project.id),
        key=uuid.uuid4().hex,
        found=found,
        filter=request.args.get("q", ""),
        problem=problem,
        chips=[(clause.text, query(q=wanted.without(i))) for i, clause in enumerate(wanted.clauses)],
        names=names,
        fields=FIELDS,
        number=columns.make_column("number", "Number", order),
        state_column=columns.make_column("state", "State", order),
        headings=run_table.build_headings(chosen, order),
        chosen=chosen,
        exported=EXPORTED,
        tag_chars=TAG_CHARS,
        tag_pattern=f" *[^,]{{0,{TAG_CHARS}}} *(, *[^,]{{0,{TAG_CHARS}}} *)*",
        known_tags=sorted({tag for execution in found.executions for tag in execution.tags}),
        chosen_at_once=CHOSEN_AT_ONCE,
        views=saved_views.list_saved_views(db, project.id),
        picker=run_table.build_picker(names, chosen) if request.args.get("pick") else None,
        query=query,
        waiting=approvals.get_overview(db, project),
        troubles=[one for one in troubles.list_troubles(db, [project]) if not one.is_approval],
        base_url=get_base_url(),
        hosted=projects.is_hosted(db, project.id),
    )


def parse_order() -> SortOrder:
    return columns.parse_order(SortOrder(by="number"), (*OF_KEY, By.PARAMETER))


def parse_filter(names: Names) -> Filter:
    return read(request.args.get("q", ""), names)


def _cursor() -> Cursor | None:
    for name, backwards in (("after", False), ("before", True)):
        if (counter := parse_whole_number(request.args.get(name))) is not None:
            return Cursor(counter=counter, backwards=backwards)
    return None
