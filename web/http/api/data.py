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
from web.http.api.answers import Created, Json, Message, Page, make_page
from web.http.api.body import Fields, File, InProject
from web.http.api.parameters import DELETED, PAGE, PROJECT, Parameter, read_page, takes
from web.services.executions import outputs
from web.store import aliases, data, executions, projects
from web.store.data import Datum
from web.store.db import Database

CHUNK = 1 << 20
FORM_BYTES = 1 << 20  # most bytes of an upload's form in addition to its file
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
    db, wanted = auth.get_db(), read_page()
    asked = EXECUTION.text()
    execution = query.get_execution(db, asked) if asked else None
    found, count = data.search(
        db,
        query.list_requested_project_ids(db),
        execution_id=execution.id if execution else None,
        purged=bool(DELETED.flag()),
        limit=wanted.limit,
        offset=wanted.offset,
    )
    return make_page(serialize_data(db, found), count, wanted)


@auth.read
def detail(identifier: str) -> Json[shapes.Datum]:
    """Return a file, without its content."""
    db = auth.get_db()
    return Json(serialize_data(db, [_requested_datum(identifier)])[0])


@auth.read
def download(identifier: str) -> Json[Download]:
    """Return a signed URL of the content, for clients that send no token with the download."""
    found, server = _requested_datum(identifier), auth.get_server()
    downloads.get_content_path(server.config.outputs_dir, found)
    return Json({"url": request.url_root.rstrip("/") + downloads.make_path(server.vault, found)})


@auth.launch
def purge(identifier: str) -> Json[Message]:
    """Delete the content of a file; its entry stays. A purged file stays as it is, without an error."""
    outputs.purge(auth.get_context(), _requested_datum(identifier).uuid)
    return Json({"message": "Purged"})


@auth.launch
@takes(body=NewDatum, fails=(507,))
def upload() -> Created[shapes.Datum]:
    """Store a file."""
    request.max_content_length = auth.get_server().config.limits.output_bytes + FORM_BYTES
    body = Fields(NewDatum)
    project = query.get_project_of_body(auth.get_db(), body)
    body.check()
    file = request.files.get("data")
    if file is None:
        raise InvalidInput("data must be a file, in a body of the type multipart/form-data", field="data")
    with closing(file):
        name = body.values.get("name") or file.filename or ""
        chunks = iter(lambda: file.stream.read(CHUNK), b"")
        stored = outputs.store_uploaded(auth.get_context(), project, name, chunks)
    return Created(serialize_data(auth.get_db(), [stored])[0])


def serialize_data(db: Database, found: Sequence[Datum]) -> list[shapes.Datum]:
    owners = {owner.id: owner.uuid for owner in projects.list_projects(db)}
    made_by = executions.map_names(db, {item.execution_id for item in found if item.execution_id is not None})
    named = aliases.list_names_by_datum(db, [item.id for item in found])
    return [
        serialize.build_datum(
            item, owners[item.project_id], made_by.get(item.execution_id or 0), named.get(item.id, [])
        )
        for item in found
    ]


def _requested_datum(identifier: str) -> Datum:
    found = data.get_by_uuid(auth.get_db(), identifier)
    auth.enter(found.project_id, f"there is no datum {identifier}")
    return found
