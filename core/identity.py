"""Authenticated users, and tokens with their scopes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from core.model import User


class Scope(StrEnum):
    """What a token may be used for, within its user's rights; `core.rights` says what each one allows."""

    READ = "read"
    PUSH = "push"
    LAUNCH = "launch"
    ADMIN = "admin"


@dataclass(frozen=True, kw_only=True)
class Identity:
    """A user, as authenticated by a token or by a session, which may have been begun with a token."""

    user: User
    token_id: int | None
    session_id: str | None
    scopes: frozenset[Scope]
    last_used_at: str | None


@dataclass(frozen=True, kw_only=True)
class Token:
    """A token as listed. `state` is active, expired, revoked, or disabled if its user is disabled."""

    id: int
    username: str
    name: str
    last8: str
    scopes: tuple[Scope, ...]
    state: str
    created_at: str
    expires_at: str | None
    last_used_at: str | None


@dataclass(frozen=True, kw_only=True)
class Session:
    """A session of a browser. `token_name` is the token that it was begun with; None for another login."""

    id: str
    address: str
    client: str
    created_at: str
    last_used_at: str
    token_name: str | None
