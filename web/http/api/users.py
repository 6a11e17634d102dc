"""The current user, and log-in."""

from __future__ import annotations

from flask import Response, request

from core.errors import InvalidInput
from core.text import printable
from web.http import auth
from web.http.api import query, serialize
from web.http.api.answers import json_response
from web.services import identities

TOKEN_S = 365 * 86400.0


@auth.read
def me() -> Response:
    return json_response(serialize.user(auth.current_user()))


@auth.public
def get_token() -> Response:
    """Log in with a user name and a password, which creates a token; or with a token as the password."""
    given = query.fields()
    username, secret = str(given.get("username", "")), str(given.get("password", ""))
    identity = auth.recognise(username, secret)
    if identity is None:
        raise InvalidInput("Unable to log in with provided credentials: use your password, or a token of yours.")
    if identity.token_id is None:
        name = f"log-in of {printable(request.user_agent.string[:60]) or 'the API'}"
        secret = identities.log_in_with_token(auth.db(), identity.user, name, TOKEN_S).secret
    return json_response({"token": secret})
