"""Manage users, invitations, tokens and roles."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from core import clock
from core.errors import Conflict, InvalidInput, NotFound
from core.identity import Scope
from core.model import Project, User
from core.names import check_user
from core.rights import Role
from web.services import passwords
from web.services.presentation.formats import format_forge_name
from web.store import audit, member_sources, members, sessions, users
from web.store.db import Database, transaction

NAME_CHARS = 100
INVITATION_S = 7 * 86400.0


@dataclass(frozen=True, kw_only=True)
class NewToken:
    """A token just created. Only its hash is stored, so this is the only time that `secret` is known."""

    id: int
    secret: str
    expires_at: str | None


def add_user(db: Database, username: str, *, is_admin: bool) -> User:
    """Add a user. Raises InvalidInput, or Conflict if the name is taken, also by a disabled user."""
    with transaction(db):
        if users.find_by_name(db, check_user(username)) is not None:
            raise Conflict(f"user {username!r} already exists")
        return users.add(db, username, is_admin=is_admin)


def find_user(db: Database, username: str) -> User:
    """Return the user called `username`. Raises NotFound."""
    found = users.find_by_name(db, username)
    if found is None:
        raise NotFound(f"there is no user {username[:80]!r}: `pushmill user list` shows them")
    return found


def set_admin(db: Database, username: str, *, is_admin: bool) -> None:
    """Make a user an administrator of the server, or no longer. Raises NotFound, or Conflict for the last one."""
    with transaction(db):
        found = find_user(db, username)
        if not is_admin:
            _keep_an_admin(db, found)
        users.set_admin(db, found.id, is_admin=is_admin)


def disable(db: Database, username: str) -> None:
    """Disable a user: reject all tokens, end all sessions and invitations. Idempotent.

    Raises NotFound, or Conflict for the last administrator.
    """
    with transaction(db):
        found = find_user(db, username)
        _keep_an_admin(db, found)
        users.set_disabled(db, found.id, found.disabled_at or clock.now())
        sessions.end_all(db, found.id)
        sessions.end_invitations(db, found.id)


def _keep_an_admin(db: Database, leaving: User) -> None:
    others = [one for one in users.list_users(db) if one.is_admin and one.disabled_at is None and one.id != leaving.id]
    if leaving.is_admin and not others:
        raise Conflict(f"{leaving.username} is the only administrator: make another user one first")


def enable(db: Database, username: str) -> None:
    """Enable a disabled user, whose tokens work again. Raises NotFound."""
    users.set_disabled(db, find_user(db, username).id, None)


def invite(db: Database, username: str) -> str:
    """Return the secret of a new invitation, which replaces older ones. Raises NotFound, or InvalidInput."""
    with transaction(db):
        return _invite(db, username)


def reset_password(db: Database, username: str) -> str:
    """Remove a user's password, end all sessions, and return the secret of a new invitation. Raises as `invite`."""
    with transaction(db):
        secret = _invite(db, username)
        found = find_user(db, username)
        users.set_password(db, found.id, None)
        sessions.end_all(db, found.id)
    return secret


def _invite(db: Database, username: str) -> str:
    found = find_user(db, username)
    if found.disabled_at is not None:
        raise InvalidInput(f"user {username} is disabled: enable the user first")
    return sessions.add_invitation(db, found.id, INVITATION_S)


def find_invited(db: Database, secret: str) -> User:
    """Return the user of an invitation. Raises NotFound if it is unknown, used or expired."""
    found = sessions.find_invited_user(db, secret)
    if found is None:
        raise NotFound("This invitation is unknown, expired or used. Ask for a new one.")
    return found


def accept_with_password(db: Database, secret: str, password: str) -> User:
    """Set the password of an invited user, which consumes the invitation. Raises NotFound, or InvalidInput."""
    hashed = passwords.hash_password(password)  # takes long: outside the transaction
    with transaction(db):
        found = find_invited(db, secret)
        sessions.end_invitations(db, found.id)
        with _acting(found):
            users.set_password(db, found.id, hashed)
    return found


def accept_with_token(db: Database, secret: str) -> tuple[User, NewToken]:
    """Create a token for an invited user, which consumes the invitation. Raises NotFound."""
    made = users.make_token()
    with transaction(db):
        found = find_invited(db, secret)
        sessions.end_invitations(db, found.id)
        with _acting(found):
            token_id = users.add_token(db, found.id, made, "invitation")
    return found, NewToken(id=token_id, secret=made, expires_at=None)


def log_in_with_token(db: Database, person: User, name: str, lifetime_s: float) -> NewToken:
    """Create a token for somebody who has just entered the password. Raises InvalidInput."""
    with _acting(person):
        return create_token(db, person.username, [Scope.ADMIN], name=name, lifetime_s=lifetime_s)


def _acting(person: User) -> AbstractContextManager[None]:
    """Record a change as made by a user whom the request has identified but not authenticated."""
    return audit.acting(replace(audit.get_actor(), username=person.username))


def change_password(db: Database, person: User, password: str, session_id: str | None) -> None:
    """Replace a user's password and end the user's other sessions. Raises InvalidInput."""
    hashed = passwords.hash_password(password)
    with transaction(db):
        users.set_password(db, person.id, hashed)
        sessions.end_all(db, person.id, but=session_id)


def set_role(db: Database, project: Project, username: str, role: Role | None) -> None:
    """Give a user a role in a project, or remove the user from it with None. Idempotent.

    Raises NotFound, or Conflict for removing a member who comes from the forge and would come back.
    """
    with transaction(db):
        found = find_user(db, username)
        if role is not None:
            members.set_role(db, project.id, found.id, role)
        elif source := members.get_source(db, found.id, project.id):
            raise Conflict(
                f"{username} is a member because of {format_forge_name(source)}: remove the access there, or give another"
                " role here, which then stays"
            )
        elif members.remove(db, project.id, found.id):
            member_sources.make_due(db)  # users who may push get the role of the forge again


def create_token(
    db: Database, username: str, scopes: Collection[Scope], *, name: str = "", lifetime_s: float | None = None
) -> NewToken:
    """Create a token for a user; without `lifetime_s` it does not expire. Raises InvalidInput or NotFound."""
    owner = find_user(db, username)
    if owner.disabled_at is not None:
        raise InvalidInput(f"user {username} is disabled: `pushmill user enable {username}` first")
    if len(name) > NAME_CHARS or not all(map(str.isprintable, name)):
        raise InvalidInput(f"the name of a token is one line of at most {NAME_CHARS} characters")
    expires_at = None
    if lifetime_s is not None:
        try:
            expires_at = clock.add_to_now(lifetime_s)
        except OverflowError:
            raise InvalidInput("a token cannot outlive the year 9999: leave its lifetime out") from None
    secret = users.make_token()
    with transaction(db):
        token_id = users.add_token(db, owner.id, secret, name, scopes, expires_at)
    return NewToken(id=token_id, secret=secret, expires_at=expires_at)
