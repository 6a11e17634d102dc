"""Environment variables of a project: `/projects/<project>/environment_variable/`."""

from __future__ import annotations

from typing import Annotated, NotRequired, TypedDict

from msgspec import Meta

from web.http import auth
from web.http.api import query
from web.http.api.answers import Created, Empty
from web.http.api.body import Given, read_fields
from web.http.api.parameters import takes
from web.services.executions import variables


class VariableName(TypedDict):
    """The name of a variable."""

    name: Annotated[Given, Meta(examples=["MODE"])]


class NewVariable(VariableName):
    """A variable with its value."""

    value: Annotated[str, Meta(examples=["fast"])]
    secret: NotRequired[Annotated[bool | None, Meta(description="Hide the value in answers, pages and logs.")]]


class ChangedVariable(VariableName):
    """A variable; the value is null if it is secret."""

    value: str | None
    secret: bool
    note: Annotated[str, Meta(description="A warning, if logs will show the secret.")]


@auth.own
@takes(body=NewVariable)
def set_one(identifier: str) -> Created[ChangedVariable]:
    """Add or replace an environment variable of a project."""
    db = auth.get_db()
    project, given = query.get_project(db, identifier), read_fields(NewVariable)
    name, value, is_secret = given["name"], given["value"], given.get("secret") or False
    note = variables.set_variable(auth.get_context(), project, name, value, is_secret=is_secret)
    return Created({"name": name, "value": None if is_secret else value, "secret": is_secret, "note": note})


@auth.own
@takes(body=VariableName)
def remove(identifier: str) -> Empty:
    """Remove an environment variable of a project."""
    project = query.get_project(auth.get_db(), identifier)
    variables.remove(auth.get_db(), project, read_fields(VariableName)["name"])
    return Empty()
