"""Data (output files and uploaded files): `/data/…`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import Annotated, NotRequired, TypedDict

from flask import request
from msgspec import Meta

from core.errors import InvalidInput
from web.http import auth, downloads
from web.http.api import query, serialize, shapes
from web.http.api.answers import Created, Json, Message, Page, paginated
from web.http.api.body import Fields, File, InProject
from web.http.api.parameters import DELETED, PAGE, PROJECT, Parameter, page, takes
from web.services.executions import outputs
from web.store import aliases, data, executions, projects
from web.store.data import Datum
from web.store.db import Database

CHUNK = 1 << 20
FORM_BYTES = 1 << 20  # of an upload, in addition to its file
EXECUTION = Parameter("output_execution", "UUID of an execution, or PROJECT:NUMBER: only its outputs, by name.")


class NewDatum(InProject):
    """A file to store."""

    data: Annotated[File, Meta(description="The content.")]
    name: NotRequired[Annotated[str | None, Meta(description="By default the name of the file.")]]


class Download(TypedDict):
    """Where the content of a file is: this URL expires, and needs no token."""

    url: str


@auth.read
@takes(PROJECT, EXECUTION, DELETED, *PAGE)
def listing() -> Json[Page[shapes.Datum]]:
    """List files, newest first; those of one execution by name. `deleted` lists purged ones instead."""
    db, wanted = auth.db(), page()
    asked = EXECUTION.text()
    execution = query.execution(db, asked) if asked else None
    found, count = data.search(
        db,
        query.asked_projects(db),
        execution_id=execution.id if execution else None,
        purged=bool(DELETED.flag()),
        limit=wanted.limit,
        offset=wanted.offset,
    )
    return paginated(objects(db, found), count, wanted)


@auth.read
def detail(identifier: str) -> Json[shapes.Datum]:
    """Return a file, without its content."""
    db = auth.db()
    return Json(objects(db, [_asked(identifier)])[0])


@auth.read
def download(identifier: str) -> Json[Download]:
    """Return a signed URL of the content, for clients that send no token with the download."""
    found, server = _asked(identifier), auth.server()
    downloads.content(server.config.outputs_dir, found)
    return Json({"url": request.url_root.rstrip("/") + downloads.path(server.vault, found)})


@auth.launch
def purge(identifier: str) -> Json[Message]:
    """Delete the content of a file; its entry stays. A purged file stays as it is, without an error."""
    outputs.purge(auth.context(), _asked(identifier).uuid)
    return Json({"message": "Purged"})


@auth.launch
@takes(body=NewDatum, fails=(507,))
def upload() -> Created[shapes.Datum]:
    """Store a file."""
    request.max_content_length = auth.server().config.limits.output_bytes + FORM_BYTES
    body = Fields(NewDatum)
    project = query.project_of(auth.db(), body)
    body.check()
    file = request.files.get("data")
    if file is None:
        raise InvalidInput("data must be a file, in a body of the type multipart/form-data", field="data")
    with closing(file):
        name = body.values.get("name") or file.filename or ""
        chunks = iter(lambda: file.stream.read(CHUNK), b"")
        stored = outputs.store_uploaded(auth.context(), project, name, chunks)
    return Created(objects(auth.db(), [stored])[0])


def objects(db: Database, found: Sequence[Datum]) -> list[shapes.Datum]:
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
