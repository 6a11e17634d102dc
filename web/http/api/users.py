"""The current user, and login."""

from __future__ import annotations

from typing import Annotated, TypedDict

from flask import request
from msgspec import Meta

from core.errors import InvalidInput
from core.text import make_printable
from web.http import auth
from web.http.api import serialize, shapes
from web.http.api.answers import Json
from web.http.api.body import Given, read_fields
from web.http.api.parameters import takes
from web.services import identities

TOKEN_S = 365 * 86400.0


class Credentials(TypedDict):
    """A login."""

    username: Annotated[Given, Meta(examples=["ada"])]
    password: Annotated[Given, Meta(description="Or a token of the user.")]


class Token(TypedDict):
    """A token, for the header Authorization."""

    token: str


@auth.read
def me() -> Json[shapes.User]:
    """Return the user of the token."""
    return Json(serialize.build_user(auth.get_current_user()))


@auth.public
@takes(body=Credentials, fails=(429,))
def get_token() -> Json[Token]:
    """Log in with a user name and a password, which creates a token; or with a token as the password."""
    given = read_fields(Credentials)
    username, secret = given["username"], given["password"]
    identity = auth.recognise(username, secret)
    if identity is None:
        raise InvalidInput("Unable to log in with provided credentials: use your password, or a token of yours.")
    if identity.token_id is None:
        name = f"login of {make_printable(request.user_agent.string[:60]) or 'the API'}"
        secret = identities.log_in_with_token(auth.get_db(), identity.user, name, TOKEN_S).secret
    return Json({"token": secret})
