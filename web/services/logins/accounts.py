"""Find, create and link the users of people whom a provider has verified."""

from __future__ import annotations

import re

from core.errors import Conflict, Denied, NotFound
from core.login_config import LoginConfig
from core.model import User
from core.rights import Role
from web.services.logins.providers import Person
from web.store import logins, members, projects, users
from web.store.db import Database, transaction

NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]+")
NAME_CHARS = 50


def log_in(db: Database, config: LoginConfig, person: Person) -> User:
    """Return the user of this person, creating one if the provider allows that. Raises Denied.

    Only an account that was linked to this subject is taken, never one with the same name or e-mail address.
    """
    check(config, person)
    with transaction(db):
        user = logins.find_user(db, person.issuer, person.subject)
        if user is None:
            if not config.create:
                raise Denied(
                    f"No user here belongs to {person.name or 'this account'}. Log in with a token or a password"
                    " and link the account on the page Account, or ask an administrator for an invitation."
                )
            user = _created(db, config, person)
        if user.disabled_at is not None:
            raise Denied(f"User {user.username} is disabled.")
        logins.add(db, person.issuer, person.subject, user.id, person.name)
    return user


def link(db: Database, config: LoginConfig, person: Person, user: User) -> None:
    """Link a verified account to a user, who can then log in with it. Raises Denied and Conflict."""
    check(config, person)
    with transaction(db):
        owner = logins.find_user(db, person.issuer, person.subject)
        if owner is not None and owner.id != user.id:
            raise Conflict(f"{person.name or 'This account'} belongs to another user of this server.")
        logins.add(db, person.issuer, person.subject, user.id, person.name)


def check(config: LoginConfig, person: Person) -> None:
    """Raise Denied unless the domain of the e-mail address and the groups are those that may log in."""
    domain = person.email.rpartition("@")[2].lower()
    if config.domains and domain not in {allowed.lower() for allowed in config.domains}:
        raise Denied(f"Only verified e-mail addresses of {', '.join(config.domains)} may log in.")
    if config.groups and not set(config.groups) & set(person.groups):
        raise Denied(f"Only members of {', '.join(config.groups)} may log in.")


def _created(db: Database, config: LoginConfig, person: Person) -> User:
    user = users.add(db, _free_name(db, person), is_admin=False)
    for name in config.projects:
        try:
            project = projects.get_by_name(db, name)
        except NotFound:
            continue  # a project of the configuration that was removed
        members.set_role(db, project.id, user.id, Role(config.role))
    return user


def _free_name(db: Database, person: Person) -> str:
    """Return an unused user name that resembles the one at the provider."""
    wanted = NOT_IN_NAMES.sub("-", person.name.partition("@")[0]).strip("._-")[:NAME_CHARS] or "user"
    name, number = wanted, 1
    while users.find_by_name(db, name) is not None:
        number += 1
        name = f"{wanted}-{number}"
    return name
