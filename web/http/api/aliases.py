"""Aliases of data: `/datum-aliases/…`."""

from __future__ import annotations

from flask import Response, request

from core import datum
from core.errors import InvalidInput, NotFound
from web.http import auth
from web.http.api import query, serialize
from web.http.api.answers import json_response, paginated
from web.http.api.data import objects
from web.store import aliases, audit, data
from web.store.aliases import Alias
from web.store.audit import Act, Kind
from web.store.db import transaction


@auth.read
def listing() -> Response:
    """List aliases, the newest first."""
    db, page = auth.db(), query.page()
    if query.flag("deleted"):
        return paginated([], 0, page)
    found, count = aliases.search(db, query.asked_projects(db), page.limit, page.offset)
    return paginated(_objects(found), count, page)


@auth.read
def resolve() -> Response:
    """Return the alias `name` of `project` with its file."""
    db = auth.db()
    project = query.project(db, query.text(request.args, "project"))
    return json_response(_objects([aliases.by_name(db, project.id, query.text(request.args, "name"))])[0])


@auth.launch
def create() -> Response:
    """Let `name` be that of the file `datum` (a UUID) in `project`; an existing alias is moved to it."""
    db, given = auth.db(), query.fields()
    project, name = query.project(db, query.text(given, "project")), query.text(given, "name")
    if problem := datum.alias_problem(name):
        raise InvalidInput(f"{name[:128]!r} is not a valid alias: {problem}", field="name")
    wanted = query.text(given, "datum").removeprefix(f"{datum.SCHEME}://")
    with transaction(db):
        try:
            found = data.by_uuid(db, wanted)
        except NotFound:
            found = None
        if found is None or found.project_id != project.id:
            raise InvalidInput(f"there is no datum {wanted} in {project.name}", field="datum", code="does_not_exist")
        made = aliases.put(db, project.id, name, found.id)
        audit.record(db, Act.CHANGE, Kind.ALIAS, name, project.id, found.uuid)
    return json_response(_objects([made])[0], 201)


def _objects(found: list[Alias]) -> list[serialize.Json]:
    db = auth.db()
    files = data.of_ids(db, {item.datum_id for item in found})
    shown = {file.id: shown for file, shown in zip(files, objects(db, files), strict=True)}
    return [serialize.alias(item, shown[item.datum_id]) for item in found]
