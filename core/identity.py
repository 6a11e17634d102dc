"""Users as known by a token, and what tokens are for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from core.model import User


class Scope(StrEnum):
    """What a token may be used for, within what its user may do."""

    PUSH = "push"
    READ = "read"
    ADMIN = "admin"


@dataclass(frozen=True, kw_only=True)
class Identity:
    """A user, as known by one token.

    A session is over when the token's `generation` is no longer the one that the session began with.
    """

    user: User
    token_id: int
    scopes: frozenset[Scope]
    generation: str
    last_used_at: str | None


@dataclass(frozen=True, kw_only=True)
class Token:
    """A token as it is listed. `state` is active, expired, revoked, or disabled as its user is."""

    id: int
    username: str
    name: str
    last8: str
    scopes: tuple[Scope, ...]
    state: str
    created_at: str
    expires_at: str | None
    last_used_at: str | None
