"""Save and remove views of the table of executions."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode

from flask import Blueprint, redirect, request, url_for
from werkzeug import Response

from core.errors import InvalidInput
from core.text import make_printable
from web.http import auth
from web.store import projects, saved_views
from web.store.db import transaction

blueprint = Blueprint("saved_views", __name__)

PARTS = ("q", "sort", "col")  # parts of the address that a view consists of
MAX_NAME, MAX_QUERY = 60, 4000
MAX_VALUES = 100


@blueprint.post("/p/<name>/views/save")
@auth.launch
def save(name: str) -> Response:
    """Save the view of the address `query` under `view`, and show it."""
    db = auth.get_db()
    project = projects.get_by_name(db, name)
    view, query = request.form.get("view", "").strip(), _kept(request.form.get("query", ""))
    if not 0 < len(view) <= MAX_NAME or make_printable(view) != view:
        raise InvalidInput(f"the name of a view has 1 to {MAX_NAME} printable characters", field="view")
    with transaction(db):
        saved_views.save(db, project.id, view, query)
    return redirect(f"{url_for('executions.listing', name=name)}?{query}", 303)


@blueprint.post("/p/<name>/views/remove")
@auth.launch
def remove(name: str) -> Response:
    db = auth.get_db()
    project = projects.get_by_name(db, name)
    with transaction(db):
        saved_views.remove(db, project.id, request.form.get("view", ""))
    return redirect(f"{url_for('executions.listing', name=name)}?{_kept(request.form.get('query', ''))}", 303)


def _kept(query: str) -> str:
    """Return the parts of a query that a view consists of. Raises InvalidInput for a long one."""
    if len(query) > MAX_QUERY:
        raise InvalidInput(f"the address of a view has at most {MAX_QUERY:,} characters")
    found = parse_qsl(query.lstrip("?"), max_num_fields=None)[:MAX_VALUES]
    return urlencode([(part, value) for part, value in found if part in PARTS])
