"""User and password from a clone URL: stored encrypted and separately from the URL, and used only for fetching.

git gets them through the environment of its process. Older rows are converted when the server starts, in one
transaction; a migration could not do this, as it does not have the key. Credentials are removed from errors of git in
each form in which a forge may echo them.
"""

from __future__ import annotations

from collections.abc import Iterator

import orjson

from core.errors import GitError
from core.git import url as git_url
from web.services.context import Context
from web.store import projects
from web.store.db import Database, overwriting, transaction

Login = tuple[str, str]  # either may be ""


def store_login(context: Context, repository_id: int, login: Login | None) -> None:
    """Set the login of a repository; None removes it."""
    projects.set_git_login(context.db, repository_id, context.vault.encrypt(orjson.dumps(login)) if login else None)


def load_login(context: Context, repository_id: int) -> Login:
    """Return user and password of a repository, each "" if there is none."""
    stored = projects.find_git_login(context.db, repository_id)
    user, password = orjson.loads(context.vault.decrypt(stored)) if stored else ("", "")
    return user, password


def split_logins(context: Context) -> None:
    """Move logins out of the URLs in which older versions stored them. Idempotent, in one transaction."""
    db = context.db
    if not any(_unsplit(db)):
        return
    with overwriting(db), transaction(db):
        for repository_id, url, login in _unsplit(db):
            projects.set_url(db, repository_id, url)
            store_login(context, repository_id, login)
            if login and login[1]:
                projects.redact(db, repository_id, login[1])


def _unsplit(db: Database) -> Iterator[tuple[int, str, Login | None]]:
    """Yield each repository whose URL contains a login: id, URL without login, login."""
    for repository_id, url in projects.list_urls_with_login(db):
        try:
            clean, login = git_url.split_login(url)
        except GitError:  # such a URL could never be fetched
            clean, login = git_url.remove_credentials(url), None
        if clean != url:
            yield repository_id, clean, login
