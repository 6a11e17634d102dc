"""Create, disable and enable users, and create their tokens, as an administrator does."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from core import clock
from core.errors import Conflict, InvalidInput, NotFound
from core.identity import Scope
from core.model import User
from core.names import check_user
from web.store import users
from web.store.db import Database, transaction

NAME_CHARS = 100


@dataclass(frozen=True, kw_only=True)
class NewToken:
    """A token just created. Only its hash is stored, so this is the only time that `secret` is known."""

    id: int
    secret: str
    expires_at: str | None


def add_user(db: Database, username: str, *, is_admin: bool) -> User:
    """Add a user. Raises InvalidInput, or Conflict if the name is taken, also by a disabled user."""
    with transaction(db):
        if users.by_name(db, check_user(username)) is not None:
            raise Conflict(f"user {username!r} exists already")
        return users.add(db, username, is_admin=is_admin)


def user(db: Database, username: str) -> User:
    """Return the user called `username`. Raises NotFound."""
    found = users.by_name(db, username)
    if found is None:
        raise NotFound(f"there is no user {username[:80]!r}: `pushmill user list` shows them")
    return found


def disable(db: Database, username: str) -> None:
    """Disable a user: reject all tokens and end all sessions. Idempotent. Raises NotFound."""
    found = user(db, username)
    users.set_disabled(db, found.id, found.disabled_at or clock.now())


def enable(db: Database, username: str) -> None:
    """Enable a disabled user, whose tokens work again. Raises NotFound."""
    users.set_disabled(db, user(db, username).id, None)


def new_token(
    db: Database, username: str, scopes: Collection[Scope], *, name: str = "", lifetime_s: float | None = None
) -> NewToken:
    """Create a token for a user; without `lifetime_s` it does not expire. Raises InvalidInput or NotFound."""
    owner = user(db, username)
    if owner.disabled_at is not None:
        raise InvalidInput(f"user {username} is disabled: `pushmill user enable {username}` first")
    if len(name) > NAME_CHARS or not all(map(str.isprintable, name)):
        raise InvalidInput(f"the name of a token is one line of at most {NAME_CHARS} characters")
    expires_at = None
    if lifetime_s is not None:
        try:
            expires_at = clock.after(lifetime_s)
        except OverflowError:
            raise InvalidInput("a token cannot outlive the year 9999: leave its lifetime out") from None
    secret = users.new_token()
    with transaction(db):
        token_id = users.add_token(db, owner.id, secret, name, scopes, expires_at)
    return NewToken(id=token_id, secret=secret, expires_at=expires_at)
