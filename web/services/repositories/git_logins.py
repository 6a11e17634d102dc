"""User and password that a clone URL was given with: stored encrypted, apart from the URL, and used for fetching alone.

git gets them through the environment of its process. Rows written before this existed are repaired at the start, in
one transaction, not in a migration, which does not have the key. Errors of git are searched for the credentials in
each form in which a forge may send them back.
"""

from __future__ import annotations

from collections.abc import Iterator

import orjson

from core.errors import GitError
from core.git import url as git_url
from web.services.vault import Vault
from web.store import projects
from web.store.db import Database, overwriting, transaction

Login = tuple[str, str]  # either may be ""


def store(db: Database, vault: Vault, repository_id: int, login: Login | None) -> None:
    """Replace the login of a repository; None removes it."""
    projects.set_git_login(db, repository_id, vault.encrypt(orjson.dumps(login)) if login else None)


def of(db: Database, vault: Vault, repository_id: int) -> Login:
    """User and password, each "" when there is none."""
    stored = projects.git_login(db, repository_id)
    user, password = orjson.loads(vault.decrypt(stored)) if stored else ("", "")
    return user, password


def split_all(db: Database, vault: Vault) -> None:
    """Move logins out of the URLs in which older versions stored them. Idempotent, and whole or not at all."""
    if not any(_unsplit(db)):
        return
    with overwriting(db), transaction(db):
        for repository_id, url, login in _unsplit(db):
            projects.set_url(db, repository_id, url)
            store(db, vault, repository_id, login)
            if login and login[1]:
                projects.cut_out(db, repository_id, login[1])


def _unsplit(db: Database) -> Iterator[tuple[int, str, Login | None]]:
    """Repositories whose URL has a login in it: id, URL without it, login."""
    for repository_id, url in projects.urls_with_login(db):
        try:
            clean, login = git_url.split_login(url)
        except GitError:  # it could never be fetched
            clean, login = git_url.without_credentials(url), None
        if clean != url:
            yield repository_id, clean, login
