"""Environment variables of a project: `/projects/<project>/environment_variable/`."""

from __future__ import annotations

from flask import Response

from core.errors import InvalidInput
from web.http import auth
from web.http.api import query
from web.http.api.answers import json_response
from web.services.executions import variables


@auth.user
def set_one(identifier: str) -> Response:
    """Add or replace a variable. `note` in the response warns if logs will show a secret."""
    db, given = auth.db(), query.fields()
    project, is_secret = query.project(db, identifier), given.get("secret", False)
    name, value = _text(given.get("name"), "name"), _text(given.get("value"), "value")
    if not isinstance(is_secret, bool):
        raise InvalidInput("secret must be true or false")
    note = variables.set_one(db, auth.server().vault, project, name, value, is_secret=is_secret)
    return json_response({"name": name, "value": None if is_secret else value, "secret": is_secret, "note": note}, 201)


@auth.user
def remove(identifier: str) -> Response:
    db, given = auth.db(), query.fields()
    variables.remove(db, query.project(db, identifier), _text(given.get("name"), "name"))
    return Response(status=204)


def _text(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise InvalidInput(f"{name} must be text")
    return value
