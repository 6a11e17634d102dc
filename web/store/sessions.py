"""Sessions of browsers, and invitations: secrets of users that are stored as hashes, and end."""

from __future__ import annotations

import secrets
import sqlite3
from contextlib import suppress
from dataclasses import replace

from sqlite_utils import Database

from core import clock
from core.identity import Identity, Session
from core.model import User
from web.store import audit, users
from web.store.audit import Act, Kind
from web.store.db import execute, fetch_row, fetch_rows, insert, joined, needs_transaction
from web.store.users import STATE, hash_secret

LIFETIME_S = 30 * 86400.0  # however much it is used
# A session begun with a token has that token's scopes and ends with it; another one has all rights of its user.
IDENTITY = (
    "SELECT user.*, session.token_id, session.id AS session_id, COALESCE(token.scopes, 'admin') AS scopes,"
    " session.last_used_at FROM session JOIN user ON user.id = session.user_id"
    " LEFT JOIN token ON token.id = session.token_id"
    f" WHERE {STATE} = 'active' AND session.created_at > ?"
)


@needs_transaction
def begin(db: Database, user_id: int, token_id: int | None, address: str, client: str) -> str:
    """Begin a session of a user and return its secret, of which only a hash is stored. Deletes expired sessions."""
    secret, now = secrets.token_urlsafe(32), clock.now()
    execute(db, "DELETE FROM session WHERE created_at <= ?", (clock.add_to_now(-LIFETIME_S),))
    values = {"id": hash_secret(secret), "user_id": user_id, "token_id": token_id, "address": address}
    insert(db, "session", values | {"client": client[:200], "created_at": now, "last_used_at": now})
    username = users.get(db, user_id).username
    with audit.acting(replace(audit.get_actor(), username=username, token_id=token_id)):
        audit.record(db, Act.LOGIN, Kind.USER, username)
    return secret


def find_by_secret(db: Database, secret: str) -> Identity | None:
    """Return the identity of a session; None if it has ended or expired, or its user is disabled."""
    return find_by_id(db, hash_secret(secret))


def find_by_id(db: Database, session_id: str) -> Identity | None:
    """Return the identity of a session by its id, the hash of its secret; None as in `find_by_secret`."""
    values = (clock.now(), clock.add_to_now(-LIFETIME_S), session_id)
    return users.make_identity(fetch_row(db, f"{IDENTITY} AND session.id = ?", values))


def list_sessions(db: Database, user_id: int) -> list[Session]:
    """List the sessions of a user, last used first."""
    sql = (
        "SELECT session.*, token.name AS token_name FROM session LEFT JOIN token ON token.id = session.token_id"
        " WHERE session.user_id = ? AND session.created_at > ? ORDER BY session.last_used_at DESC, session.id"
    )
    found = fetch_rows(db, sql, (user_id, clock.add_to_now(-LIFETIME_S)))
    return [Session(**{name: item[name] for name in Session.__dataclass_fields__}) for item in found]


def has_address(db: Database, user_id: int, address: str) -> bool:
    """Return whether a user has a session that was begun at this address."""
    return fetch_row(db, "SELECT 1 FROM session WHERE user_id = ? AND address = ?", (user_id, address)) is not None


def touch(db: Database, session_id: str) -> None:
    """Record that a session is used now. Write errors are ignored: a full disk must not prevent reading."""
    with suppress(sqlite3.OperationalError):
        execute(db, "UPDATE session SET last_used_at = ? WHERE id = ?", (clock.now(), session_id))


def end(db: Database, user_id: int, session_id: str) -> None:
    """End one session of a user. Idempotent."""
    with joined(db):
        if execute(db, "DELETE FROM session WHERE id = ? AND user_id = ?", (session_id, user_id)):
            audit.record(db, Act.LOGOUT, Kind.USER, users.get(db, user_id).username)


def end_all(db: Database, user_id: int, *, but: str | None = None) -> None:
    """End all sessions of a user, except one."""
    with joined(db):
        if count := execute(db, "DELETE FROM session WHERE user_id = ? AND id IS NOT ?", (user_id, but)):
            username = users.get(db, user_id).username
            audit.record(db, Act.LOGOUT, Kind.USER, username, detail="1 session" if count == 1 else f"{count} sessions")


@needs_transaction
def add_invitation(db: Database, user_id: int, lifetime_s: float) -> str:
    """Create an invitation and return its secret, of which only a hash is stored; older ones of the user end."""
    end_invitations(db, user_id)
    secret = secrets.token_urlsafe(24)
    values = {"user_id": user_id, "sha256": hash_secret(secret), "created_at": clock.now()}
    insert(db, "invitation", values | {"expires_at": clock.add_to_now(lifetime_s)})
    audit.record(db, Act.CREATE, Kind.INVITATION, users.get(db, user_id).username)
    return secret


def find_invited_user(db: Database, secret: str) -> User | None:
    """Return the user of an invitation that is neither used nor expired, unless the user is disabled."""
    sql = (
        "SELECT user_id FROM invitation JOIN user ON user.id = user_id"
        " WHERE sha256 = ? AND used_at IS NULL AND expires_at > ? AND user.disabled_at IS NULL"
    )
    found = fetch_row(db, sql, (hash_secret(secret), clock.now()))
    return users.get(db, found["user_id"]) if found else None


def end_invitations(db: Database, user_id: int) -> None:
    """Expire all invitations of a user."""
    execute(db, "UPDATE invitation SET used_at = COALESCE(used_at, ?) WHERE user_id = ?", (clock.now(), user_id))
