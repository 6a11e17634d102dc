"""Users and their tokens. A token has 160 random bits, so a stolen SHA-256 of it cannot be reversed."""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
from collections.abc import Collection
from contextlib import suppress
from typing import Any

from sqlite_utils import Database

from core import clock
from core.errors import NotFound
from core.identity import Identity, Scope, Token
from core.model import User
from web.store import audit
from web.store.audit import Act, Kind
from web.store.db import Row, execute, fetch_row, fetch_rows, insert, joined

TOKEN_PREFIX = "pm_"  # lets secret scanners and log masks recognise one  # noqa: S105
# The only definition of a valid token; its parameter is the current time.
STATE = (
    "CASE WHEN token.revoked_at IS NOT NULL THEN 'revoked' WHEN token.expires_at <= ? THEN 'expired'"
    " WHEN user.disabled_at IS NOT NULL THEN 'disabled' ELSE 'active' END"
)
IDENTITY = (
    "SELECT user.*, token.id AS token_id, NULL AS session_id, token.scopes, token.last_used_at"
    f" FROM token JOIN user ON user.id = token.user_id WHERE {STATE} = 'active'"
)


def make_token() -> str:
    return TOKEN_PREFIX + secrets.token_hex(20)


def hash_secret(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def add(db: Database, username: str, *, is_admin: bool) -> User:
    user_id = insert(db, "user", {"username": username, "is_admin": is_admin, "created_at": clock.now()})
    audit.record(db, Act.CREATE, Kind.USER, username, detail="administrator" if is_admin else "")
    return User(id=user_id, username=username, email="", is_admin=is_admin)


def get(db: Database, user_id: int) -> User:
    """Return a user by id; the foreign key from which the id comes ensures that it exists."""
    found = _user(fetch_row(db, "SELECT * FROM user WHERE id = ?", (user_id,)))
    assert found is not None  # noqa: S101
    return found


def find_by_name(db: Database, username: str) -> User | None:
    return _user(fetch_row(db, "SELECT * FROM user WHERE username = ?", (username,)))


def get_named_or_default(db: Database, username: str, user_id: int) -> User:
    """Return the user with this name or, if there is none, the one with this id."""
    sql = "SELECT * FROM user WHERE username = ? OR id = ? ORDER BY username = ? DESC LIMIT 1"
    found = _user(fetch_row(db, sql, (username, user_id, username)))
    assert found is not None  # noqa: S101
    return found


def list_users(db: Database) -> list[User]:
    return [user for found in fetch_rows(db, "SELECT * FROM user ORDER BY username") if (user := _user(found))]


def has_several(db: Database) -> bool:
    """Return whether there is more than one user. Pages about people are hidden until then."""
    return len(fetch_rows(db, "SELECT id FROM user LIMIT 2")) > 1


def set_admin(db: Database, user_id: int, *, is_admin: bool) -> None:
    with joined(db):
        execute(db, "UPDATE user SET is_admin = ? WHERE id = ?", (int(is_admin), user_id))
        _record(db, user_id, "administrator" if is_admin else "no administrator")


def find_password_hash(db: Database, user_id: int) -> str | None:
    """Return the hash of a user's password, if the user has one."""
    found = fetch_row(db, "SELECT password FROM user WHERE id = ?", (user_id,))
    return found["password"] if found else None


def set_password(db: Database, user_id: int, hashed: str | None) -> None:
    """Replace the hash of a user's password, or remove it."""
    with joined(db):
        execute(db, "UPDATE user SET password = ? WHERE id = ?", (hashed, user_id))
        _record(db, user_id, "password" if hashed else "no password")


def set_disabled(db: Database, user_id: int, disabled_at: str | None) -> None:
    """Disable a user from a time on, so that no token works, or enable the user with None."""
    with joined(db):
        execute(db, "UPDATE user SET disabled_at = ? WHERE id = ?", (disabled_at, user_id))
        _record(db, user_id, "disabled" if disabled_at else "enabled")


def _record(db: Database, user_id: int, detail: str) -> None:
    audit.record(db, Act.CHANGE, Kind.USER, get(db, user_id).username, detail=detail)


def add_token(
    db: Database,
    user_id: int,
    token: str,
    name: str,
    scopes: Collection[Scope] = (Scope.ADMIN,),
    expires_at: str | None = None,
) -> int:
    """Store a new token as a hash; return its id."""
    values: dict[str, Any] = {"user_id": user_id, "name": name, "sha256": hash_secret(token), "last8": token[-8:]}
    values |= {"scopes": " ".join(sorted(scopes)), "expires_at": expires_at}
    token_id = insert(db, "token", values | {"created_at": clock.now()})
    detail = ", ".join(filter(None, (f"of {get(db, user_id).username}", name, values["scopes"])))
    audit.record(db, Act.CREATE, Kind.TOKEN, token_id, detail=detail)
    return token_id


def find_by_token(db: Database, token: str) -> Identity | None:
    """Return the identity of a token; None if it is unknown, revoked or expired, or its user is disabled."""
    return make_identity(fetch_row(db, f"{IDENTITY} AND token.sha256 = ?", (clock.now(), hash_secret(token))))


def find_by_token_id(db: Database, token_id: int) -> Identity | None:
    """Return the identity of a token by its id; None as in `find_by_token`."""
    return make_identity(fetch_row(db, f"{IDENTITY} AND token.id = ?", (clock.now(), token_id)))


def touch_token(db: Database, token_id: int) -> None:
    """Record that a token is used now. Write errors are ignored: a full disk must not prevent reading."""
    with suppress(sqlite3.OperationalError):
        execute(db, "UPDATE token SET last_used_at = ? WHERE id = ?", (clock.now(), token_id))


def revoke_token(db: Database, token_id: int) -> None:
    """Revoke a token and end its sessions permanently. Idempotent. Raises NotFound."""
    with joined(db):
        execute(db, "UPDATE token SET revoked_at = COALESCE(revoked_at, ?) WHERE id = ?", (clock.now(), token_id))
        sql = "SELECT user.username, token.name FROM token JOIN user ON user.id = token.user_id WHERE token.id = ?"
        found = fetch_row(db, sql, (token_id,))
        if found is None:
            raise NotFound(f"there is no token {token_id}: `pushmill token list` shows their numbers")
        detail = ", ".join(filter(None, (f"of {found['username']}", found["name"])))
        audit.record(db, Act.REMOVE, Kind.TOKEN, token_id, detail=detail)


def list_tokens(db: Database, user_id: int | None = None) -> list[Token]:
    """List the tokens of all users or of one, oldest first."""
    sql = (
        f"SELECT token.*, user.username, {STATE} AS state FROM token JOIN user ON user.id = token.user_id"
        " WHERE token.user_id = COALESCE(?, token.user_id) ORDER BY token.id"
    )
    return [_token(found) for found in fetch_rows(db, sql, (clock.now(), user_id))]


def map_last_used(db: Database) -> dict[int, str]:
    """Return the last use of any token or session by user id; users who never did anything are omitted."""
    sql = (
        "SELECT user_id, MAX(last_used_at) AS used_at FROM (SELECT user_id, last_used_at FROM token"
        " UNION ALL SELECT user_id, last_used_at FROM session) WHERE last_used_at IS NOT NULL GROUP BY user_id"
    )
    return {found["user_id"]: found["used_at"] for found in fetch_rows(db, sql)}


def _user(found: Row | None) -> User | None:
    if found is None:
        return None
    values = {name: found[name] for name in User.__dataclass_fields__}
    return User(**values | {"is_admin": bool(found["is_admin"])})


def make_identity(found: Row | None) -> Identity | None:
    """Return the identity of a row like that of IDENTITY."""
    user = _user(found)
    if found is None or user is None:
        return None
    return Identity(
        user=user,
        token_id=found["token_id"],
        session_id=found["session_id"],
        scopes=frozenset(_scopes(found)),
        last_used_at=found["last_used_at"],
    )


def _token(found: Row) -> Token:
    return Token(**{name: found[name] for name in Token.__dataclass_fields__} | {"scopes": _scopes(found)})


def _scopes(found: Row) -> tuple[Scope, ...]:
    return tuple(Scope(word) for word in found["scopes"].split())
