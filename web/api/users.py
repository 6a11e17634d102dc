"""Who is asking, and how they log in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from flask import Response, request

from core.errors import InvalidInput
from web import access
from web.api import serialize
from web.api.answers import answer
from web.store import users


@access.user
def me() -> Response:
    return answer(serialize.user(access.current_user()))


@access.public
def get_token() -> Response:
    """Log in by name and password, where the password is a token: there are no other passwords."""
    given = _given()
    username, token = str(given.get("username", "")), str(given.get("password", ""))
    found = users.by_token(access.db(), token)
    if found is None or found.username != username:
        raise InvalidInput("Unable to log in with provided credentials; the password is a token of yours.")
    return answer({"token": token})


def _given() -> Mapping[str, Any]:
    """The fields of a form or of a JSON object."""
    if not request.is_json:
        return request.form
    try:
        data = orjson.loads(request.get_data())
    except orjson.JSONDecodeError:
        raise InvalidInput("the body is no JSON") from None
    if not isinstance(data, dict):
        raise InvalidInput("the body must be a JSON object")
    return data
