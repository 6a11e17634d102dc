"""Data (output files and uploaded files): `/data/…`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

from flask import Response, request

from core.errors import InvalidInput
from web.http import auth, downloads
from web.http.api import query, serialize
from web.http.api.answers import json_response, paginated
from web.services.executions import outputs
from web.store import aliases, data, executions, projects
from web.store.data import Datum
from web.store.db import Database

CHUNK = 1 << 20
FORM_BYTES = 1 << 20  # of an upload, besides its file


@auth.read
def listing() -> Response:
    """List data, newest first; data of one execution by name. `deleted` lists purged ones instead."""
    db, page = auth.db(), query.page()
    asked = request.args.get("output_execution", "")
    execution = query.execution(db, asked) if asked else None
    found, count = data.search(
        db,
        query.asked_projects(db),
        execution_id=execution.id if execution else None,
        purged=bool(query.flag("deleted")),
        limit=page.limit,
        offset=page.offset,
    )
    return paginated(objects(db, found), count, page)


@auth.read
def detail(identifier: str) -> Response:
    db = auth.db()
    return json_response(objects(db, [_asked(identifier)])[0])


@auth.read
def download(identifier: str) -> Response:
    """Return a signed URL of the content, for clients that send no token with the download."""
    found, server = _asked(identifier), auth.server()
    downloads.content(server.config.outputs_dir, found)
    return json_response({"url": request.url_root.rstrip("/") + downloads.path(server.vault, found)})


@auth.launch
def purge(identifier: str) -> Response:
    """Delete the content of a file; its entry stays. A purged file stays as it is, without an error."""
    outputs.purge(auth.context(), _asked(identifier).uuid)
    return json_response({"message": "Purged"})


@auth.launch
def upload() -> Response:
    """Store the file `data` of a multipart form in `project`; `name` is by default the name of the file."""
    request.max_content_length = auth.server().config.limits.output_bytes + FORM_BYTES
    project = query.project(auth.db(), query.text(query.fields(), "project"))
    file = request.files.get("data")
    if file is None:
        raise InvalidInput("data must be a file, in a body of the type multipart/form-data", field="data")
    with closing(file):
        name = query.text(request.form, "name", file.filename or "")
        chunks = iter(lambda: file.stream.read(CHUNK), b"")
        stored = outputs.store_uploaded(auth.context(), project, name, chunks)
    return json_response(objects(auth.db(), [stored])[0], 201)


def objects(db: Database, found: Sequence[Datum]) -> list[serialize.Json]:
    owners = {owner.id: owner.uuid for owner in projects.listing(db)}
    made_by = executions.names(db, {item.execution_id for item in found if item.execution_id is not None})
    named = aliases.names_of(db, [item.id for item in found])
    return [
        serialize.datum(item, owners[item.project_id], made_by.get(item.execution_id or 0), named.get(item.id, []))
        for item in found
    ]


def _asked(identifier: str) -> Datum:
    found = data.by_uuid(auth.db(), identifier)
    auth.enter(found.project_id, f"there is no datum {identifier}")
    return found
