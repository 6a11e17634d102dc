"""Aliases of data: `/datum-aliases/…`."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from core import datum
from core.errors import InvalidInput, NotFound
from web.http import auth
from web.http.api import query, serialize, shapes
from web.http.api.answers import Created, Json, Page, make_page
from web.http.api.body import Fields, Given, InProject
from web.http.api.data import serialize_data
from web.http.api.parameters import DELETED, PAGE, PROJECT, Parameter, read_page, takes
from web.store import aliases, audit, data
from web.store.aliases import Alias
from web.store.audit import Act, Kind
from web.store.db import transaction

NAME = Parameter("name", "Name of the alias.", required=True, example="newest")
OF = Parameter("project", "Name or UUID of the project.", required=True, example="mymodel")


class NewAlias(InProject):
    """An alias of a file."""

    name: Annotated[Given, Meta(examples=["newest"])]
    datum: Annotated[Given, Meta(description="UUID of the file.", examples=["123e4567-e89b-42d3-a456-426614174000"])]


@auth.read
@takes(PROJECT, DELETED, *PAGE)
def listing() -> Json[Page[shapes.Alias]]:
    """List aliases, the newest first."""
    db, wanted = auth.get_db(), read_page()
    if DELETED.flag():
        return make_page([], 0, wanted)
    found, count = aliases.search(db, query.list_requested_project_ids(db), wanted.limit, wanted.offset)
    return make_page(_objects(found), count, wanted)


@auth.read
@takes(NAME, OF)
def resolve() -> Json[shapes.Alias]:
    """Return the alias `name` of `project` with its file."""
    db = auth.get_db()
    project = query.get_project(db, OF.text())
    return Json(_objects([aliases.get_by_name(db, project.id, NAME.text())])[0])


@auth.launch
@takes(body=NewAlias)
def create() -> Created[shapes.Alias]:
    """Create or replace the alias `name` of a file."""
    db, body = auth.get_db(), Fields(NewAlias)
    project = query.get_project_of_body(db, body)
    body.check()
    name = body.values["name"]
    if problem := datum.find_alias_problem(name):
        raise InvalidInput(f"{name[:128]!r} is not a valid alias: {problem}", field="name")
    wanted = body.values["datum"].removeprefix(f"{datum.SCHEME}://")
    with transaction(db):
        try:
            found = data.get_by_uuid(db, wanted)
        except NotFound:
            found = None
        if found is None or found.project_id != project.id:
            raise InvalidInput(f"there is no datum {wanted} in {project.name}", field="datum", code="does_not_exist")
        made = aliases.set_alias(db, project.id, name, found.id)
        audit.record(db, Act.CHANGE, Kind.ALIAS, name, project.id, found.uuid)
    return Created(_objects([made])[0])


def _objects(found: list[Alias]) -> list[shapes.Alias]:
    db = auth.get_db()
    files = data.get_many(db, {item.datum_id for item in found})
    shown = {file.id: shown for file, shown in zip(files, serialize_data(db, files), strict=True)}
    return [serialize.build_alias(item, shown[item.datum_id]) for item in found]
