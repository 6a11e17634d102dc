"""Users and their tokens. A token has 160 random bits, so its SHA-256 recognises it and is useless to a thief."""

from __future__ import annotations

import hashlib
import secrets

from sqlite_utils import Database

from core import clock
from core.model import User
from web.store.db import Row, insert, row

TOKEN_PREFIX = "pm_"  # lets secret scanners and log masks recognise one  # noqa: S105


def new_token() -> str:
    return TOKEN_PREFIX + secrets.token_hex(20)


def fingerprint(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def add(db: Database, username: str, *, is_admin: bool) -> User:
    user_id = insert(db, "user", {"username": username, "is_admin": is_admin, "created_at": clock.now()})
    return User(id=user_id, username=username, email="", is_admin=is_admin)


def add_token(db: Database, user_id: int, token: str, name: str) -> None:
    values = {"user_id": user_id, "name": name, "sha256": fingerprint(token), "last8": token[-8:]}
    insert(db, "token", values | {"created_at": clock.now()})


def get(db: Database, user_id: int) -> User | None:
    return _user(row(db, "SELECT * FROM user WHERE id = ?", (user_id,)))


def of_row(db: Database, user_id: int) -> User:
    """The user that a row names, whom a foreign key keeps there."""
    found = get(db, user_id)
    assert found is not None  # noqa: S101
    return found


def by_name(db: Database, username: str) -> User | None:
    return _user(row(db, "SELECT * FROM user WHERE username = ?", (username,)))


def by_token(db: Database, token: str) -> User | None:
    sql = "SELECT user.* FROM token JOIN user ON user.id = token.user_id WHERE token.sha256 = ?"
    return _user(row(db, sql, (fingerprint(token),)))


def _user(found: Row | None) -> User | None:
    if found is None:
        return None
    return User(id=found["id"], username=found["username"], email=found["email"], is_admin=bool(found["is_admin"]))
