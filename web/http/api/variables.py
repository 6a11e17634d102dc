"""Environment variables of a project: `/projects/<project>/environment_variable/`."""

from __future__ import annotations

from flask import Response

from core.errors import InvalidInput
from web.http import auth
from web.http.api import query
from web.http.api.answers import json_response
from web.services.executions import variables


@auth.own
def set_one(identifier: str) -> Response:
    """Add or replace a variable. `note` in the response warns if logs will show a secret."""
    db, given = auth.db(), query.fields()
    project, is_secret = query.project(db, identifier), given.get("secret", False)
    name, value = query.text(given, "name"), query.text(given, "value")
    if not isinstance(is_secret, bool):
        raise InvalidInput("secret must be true or false", field="secret")
    note = variables.set_one(db, auth.server().vault, project, name, value, is_secret=is_secret)
    return json_response({"name": name, "value": None if is_secret else value, "secret": is_secret, "note": note}, 201)


@auth.own
def remove(identifier: str) -> Response:
    db, given = auth.db(), query.fields()
    variables.remove(db, query.project(db, identifier), query.text(given, "name"))
    return Response(status=204)
