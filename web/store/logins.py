"""Users' accounts at login providers, identified by issuer and subject."""

from __future__ import annotations

from dataclasses import dataclass

from sqlite_utils import Database

from core import clock
from core.model import User
from web.store import audit, member_sources, users
from web.store.audit import Act, Kind
from web.store.db import execute, fetch_row, fetch_rows, joined, needs_transaction


@dataclass(frozen=True, kw_only=True)
class LinkedLogin:
    issuer: str
    subject: str
    name: str
    created_at: str


def find_user(db: Database, issuer: str, subject: str) -> User | None:
    """Return the user to whom this account belongs, even if disabled."""
    found = fetch_row(db, "SELECT user_id FROM login WHERE issuer = ? AND subject = ?", (issuer, subject))
    return users.get(db, found["user_id"]) if found else None


@needs_transaction
def add(db: Database, issuer: str, subject: str, user_id: int, name: str) -> None:
    """Link an account to a user, and store its current name. Idempotent."""
    is_new = find_user(db, issuer, subject) is None
    sql = (
        "INSERT INTO login (issuer, subject, user_id, name, created_at) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET name = excluded.name"
    )
    execute(db, sql, (issuer, subject, user_id, name[:200], clock.now()))
    if is_new:
        username = users.get(db, user_id).username
        audit.record(db, Act.CREATE, Kind.LOGIN, username, detail=f"{name[:200]} of {issuer}")
    member_sources.make_due(db)


def list_logins(db: Database, user_id: int) -> list[LinkedLogin]:
    """List the accounts of a user, oldest first."""
    found = fetch_rows(db, "SELECT * FROM login WHERE user_id = ? ORDER BY created_at", (user_id,))
    return [LinkedLogin(**{name: item[name] for name in LinkedLogin.__dataclass_fields__}) for item in found]


def remove(db: Database, user_id: int, issuer: str, subject: str) -> None:
    """Remove an account of a user. Idempotent."""
    sql = "DELETE FROM login WHERE user_id = ? AND issuer = ? AND subject = ?"
    with joined(db):
        if execute(db, sql, (user_id, issuer, subject)):
            username = users.get(db, user_id).username
            audit.record(db, Act.REMOVE, Kind.LOGIN, username, detail=f"of {issuer}")
            member_sources.make_due(db)


def map_users_by_subject(db: Database, issuer: str) -> dict[str, int]:
    """Return the ids of users by the subjects of their accounts at an issuer."""
    found = fetch_rows(db, "SELECT subject, user_id FROM login WHERE lower(issuer) = lower(?)", (issuer,))
    return {item["subject"]: item["user_id"] for item in found}
