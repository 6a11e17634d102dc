"""Data (output files): `/data/…`."""

from __future__ import annotations

from flask import Response, request

from web.http import auth, downloads
from web.http.api import query, serialize
from web.http.api.answers import json_response, paginated
from web.store import data, executions, projects


@auth.user
def listing() -> Response:
    """List data, newest first; data of one execution by name."""
    db, page = auth.db(), query.page()
    if query.flag("deleted"):
        return paginated([], 0, page)
    project, asked = query.asked_project(db), request.args.get("output_execution", "")
    execution = query.execution(db, asked) if asked else None
    found, count = data.search(
        db,
        project_id=project.id if project else None,
        execution_id=execution.id if execution else None,
        limit=page.limit,
        offset=page.offset,
    )
    owners = {owner.id: owner.uuid for owner in projects.listing(db)}
    made_by = executions.names(db, {datum.execution_id for datum in found})
    results = [serialize.datum(item, owners[item.project_id], *made_by[item.execution_id]) for item in found]
    return paginated(results, count, page)


@auth.user
def detail(identifier: str) -> Response:
    db = auth.db()
    found = data.by_uuid(db, identifier)
    owner, execution = projects.get(db, found.project_id), executions.get(db, found.execution_id)
    return json_response(serialize.datum(found, owner.uuid, execution.uuid, execution.counter))


@auth.user
def download(identifier: str) -> Response:
    """Return a signed URL of the content, for clients that send no token with the download."""
    found = data.by_uuid(auth.db(), identifier)
    return json_response({"url": request.url_root.rstrip("/") + downloads.path(auth.server().vault, found)})
