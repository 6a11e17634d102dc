"""Passwords, hashed by argon2id with the parameters that OWASP recommends: 19 MiB, two passes."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from core.errors import InvalidInput

if TYPE_CHECKING:
    from argon2 import PasswordHasher

MIN_CHARS, MAX_CHARS = 10, 200


def hash_password(password: str) -> str:
    """Return the hash to store. Raises InvalidInput for a password that is too short or too long."""
    if not MIN_CHARS <= len(password) <= MAX_CHARS:
        raise InvalidInput(f"a password has {MIN_CHARS} to {MAX_CHARS} characters, this one has {len(password)}")
    return str(_hasher().hash(password))


def matches(hashed: str | None, password: str) -> bool:
    """Return whether a password has this hash. Takes the same time without a hash, so that it reveals no user names."""
    from argon2.exceptions import Argon2Error, InvalidHashError

    try:
        return bool(_hasher().verify(hashed or _unused_hash(), password[: MAX_CHARS + 1])) and hashed is not None
    except (Argon2Error, InvalidHashError):
        return False


@functools.cache
def _hasher() -> PasswordHasher:
    """Return the hasher, whose library is loaded with the first password: many servers have none."""
    from argon2 import PasswordHasher

    return PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


@functools.cache
def _unused_hash() -> str:
    return str(_hasher().hash("a password that nobody has"))
