"""Recognise a user by name and secret, which is a password or a token, and limit guessing."""

from __future__ import annotations

import hmac

from core.errors import TooMany
from core.identity import Identity, Scope
from web.services import passwords
from web.services.throttle import Throttle
from web.store import audit, sessions, users
from web.store.db import Database

NAME_CHARS = 100  # most characters of a name under which failed logins are counted: no user has more


def recognise(db: Database, throttle: Throttle, username: str, secret: str, address: str) -> Identity | None:
    """Return the identity of a user with this password or token; failures count against the address and the account.

    Too many failures of an account refuse only passwords, and only from addresses where the user has no session: so
    strangers cannot lock anybody out. Tokens are looked up by their hash, so timing reveals nothing about their
    characters. Raises TooMany.
    """
    if throttle.too_many(address):
        raise TooMany("Too many failed logins from your address. Try again in a minute.")
    found = users.find_by_token(db, secret)
    if found is not None and hmac.compare_digest(username.encode(), found.user.username.encode()):
        return found
    user = users.find_by_name(db, username)
    account = f"user {username[:NAME_CHARS]}"
    if throttle.too_many(account) and not (user and sessions.has_address(db, user.id, address)):
        raise TooMany("Too many failed logins of this user. Try again in a minute, or log in with a token.")
    hashed = users.find_password_hash(db, user.id) if user is not None and user.disabled_at is None else None
    throttle.add(address)  # before the slow comparison, so that concurrent guesses count
    throttle.add(account)
    if passwords.matches(hashed, secret) and user is not None:
        throttle.forgive(address)
        throttle.forgive(account)
        return Identity(user=user, token_id=None, session_id=None, scopes=frozenset({Scope.ADMIN}), last_used_at=None)
    audit.record_failed_login(db, user.username if user else "")  # what was typed may be a secret
    return None
