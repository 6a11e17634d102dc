"""Authenticated users, and tokens with their scopes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from core.model import User


class Scope(StrEnum):
    """What a token may be used for, within its user's permissions."""

    PUSH = "push"
    READ = "read"
    ADMIN = "admin"


@dataclass(frozen=True, kw_only=True)
class Identity:
    """A user, as authenticated by one token.

    A session ends when the token's `generation` differs from the one that the session started with.
    """

    user: User
    token_id: int
    scopes: frozenset[Scope]
    generation: str
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
