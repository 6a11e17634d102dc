"""Find, create and link the users of people whom a provider has verified."""

from __future__ import annotations

import re

from core.errors import Conflict, Denied, NotFound
from core.login_config import LoginConfig
from core.model import User
from core.rights import Role
from web.services.logins.providers import Stranger
from web.store import logins, members, projects, users
from web.store.db import Database, transaction

NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]+")
NAME_CHARS = 50


def log_in(db: Database, config: LoginConfig, stranger: Stranger) -> User:
    """Return the user of this person, creating one if the provider allows that. Raises Denied.

    Only an account that was linked to this subject is taken, never one with the same name or e-mail address.
    """
    check(config, stranger)
    with transaction(db):
        user = logins.linked_user(db, stranger.issuer, stranger.subject)
        if user is None:
            if not config.create:
                raise Denied(
                    f"No user here belongs to {stranger.name or 'this account'}. Log in with a token or a password"
                    " and link the account on the page Account, or ask an administrator for an invitation."
                )
            user = _created(db, config, stranger)
        if user.disabled_at is not None:
            raise Denied(f"User {user.username} is disabled.")
        logins.add(db, stranger.issuer, stranger.subject, user.id, stranger.name)
    return user


def link(db: Database, config: LoginConfig, stranger: Stranger, user: User) -> None:
    """Link a verified account to a user, who can then log in with it. Raises Denied and Conflict."""
    check(config, stranger)
    with transaction(db):
        owner = logins.linked_user(db, stranger.issuer, stranger.subject)
        if owner is not None and owner.id != user.id:
            raise Conflict(f"{stranger.name or 'This account'} belongs to another user of this server.")
        logins.add(db, stranger.issuer, stranger.subject, user.id, stranger.name)


def check(config: LoginConfig, stranger: Stranger) -> None:
    """Raise Denied unless the domain of the e-mail address and the groups are those that may log in."""
    domain = stranger.email.rpartition("@")[2].lower()
    if config.domains and domain not in {allowed.lower() for allowed in config.domains}:
        raise Denied(f"Only verified e-mail addresses of {', '.join(config.domains)} may log in.")
    if config.groups and not set(config.groups) & set(stranger.groups):
        raise Denied(f"Only members of {', '.join(config.groups)} may log in.")


def _created(db: Database, config: LoginConfig, stranger: Stranger) -> User:
    user = users.add(db, _free_name(db, stranger), is_admin=False)
    for name in config.projects:
        try:
            project = projects.by_name(db, name)
        except NotFound:
            continue  # a project of the configuration that was removed
        members.set_role(db, project.id, user.id, Role(config.role))
    return user


def _free_name(db: Database, stranger: Stranger) -> str:
    """Return an unused user name that resembles the one at the provider."""
    wanted = NOT_IN_NAMES.sub("-", stranger.name.partition("@")[0]).strip("._-")[:NAME_CHARS] or "user"
    name, number = wanted, 1
    while users.by_name(db, name) is not None:
        number += 1
        name = f"{wanted}-{number}"
    return name
