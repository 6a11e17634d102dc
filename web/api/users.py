"""Who is asking, and how they log in."""

from __future__ import annotations

from flask import Response

from core.errors import InvalidInput
from web import access
from web.api import query, serialize
from web.api.answers import answer


@access.user
def me() -> Response:
    return answer(serialize.user(access.current_user()))


@access.public
def get_token() -> Response:
    """Log in by name and password, where the password is a token: there are no other passwords."""
    given = query.fields()
    username, token = str(given.get("username", "")), str(given.get("password", ""))
    if access.recognise(username, token) is None:
        raise InvalidInput("Unable to log in with provided credentials; the password is a token of yours.")
    return answer({"token": token})
