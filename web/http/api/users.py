"""The current user, and log-in."""

from __future__ import annotations

from flask import Response

from core.errors import InvalidInput
from web.http import auth
from web.http.api import query, serialize
from web.http.api.answers import json_response


@auth.read
def me() -> Response:
    return json_response(serialize.user(auth.current_user()))


@auth.public
def get_token() -> Response:
    """Log in with a user name and a password. The password is a token: there are no other passwords."""
    given = query.fields()
    username, token = str(given.get("username", "")), str(given.get("password", ""))
    if auth.recognise(username, token) is None:
        raise InvalidInput("Unable to log in with provided credentials; the password is a token of yours.")
    return json_response({"token": token})
