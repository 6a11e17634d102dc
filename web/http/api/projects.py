"""Projects: `/projects/…`."""

from __future__ import annotations

from flask import Response, request

from web.http import auth
from web.http.api import query, serialize
from web.http.api.answers import json_response, paginated
from web.services.executions import variables
from web.store import commits, executions, projects
from web.store.selection import Selection


@auth.user
def listing() -> Response:
    found, page = projects.listing(auth.db()), query.page()
    results = [serialize.project(request.url_root, item) for item in page.cut(found)]
    return paginated(results, len(found), page)


@auth.user
def detail(identifier: str) -> Response:
    db = auth.db()
    found = query.project(db, identifier)
    counts = executions.counts(db, [found.id])[found.id]
    _, stopping = executions.search(db, Selection(project_id=found.id, statuses=["stopping"], limit=0))
    counts |= {"stopping": stopping, "started": counts.get("started", 0) - stopping}
    repository = next(iter(projects.repositories(db, found.id)), None)
    shown = variables.listing(db, auth.server().vault, found)
    return json_response(serialize.project_detail(request.url_root, found, repository, counts, shown))


@auth.user
def listing_of_commits(identifier: str) -> Response:
    """Return a bare list of flat objects: clients print all keys as a table."""
    db = auth.db()
    found = query.project(db, identifier)
    newest, _ = commits.search(db, project_id=found.id, adhoc=None, limit=query.MAX_LIMIT, offset=0)
    return json_response(
        [
            {
                "identifier": commit.identifier,
                "ref": commit.ref,
                "commit_time": serialize.commit_time(commit),
                "description": commit.message.partition("\n")[0],
                "adhoc": serialize.is_adhoc(commit),
            }
            for commit in newest
        ]
    )


@auth.reader
def fetch(identifier: str) -> Response:
    """Do nothing: pushes arrive on their own, so there is nothing to fetch."""
    query.project(auth.db(), identifier)
    return json_response({"commits": [], "errors": []}, 201)


@auth.user
def ownership_options() -> Response:
    return json_response([auth.current_user().username])
