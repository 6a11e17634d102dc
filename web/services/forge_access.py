"""Reaching the API of a repository's forge: where it is, with which token, under which name."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sqlite_utils import Database

from core.errors import InvalidInput
from core.model import Repository
from hooks.apis.base import Api
from hooks.apis.client import Client
from hooks.apis.registry import APIS
from web.services import hosting, marks
from web.services.vault import Vault
from web.store import forge_access, outbox, projects
from web.store.db import transaction

TOKEN = re.compile(r"[!-~]{4,2000}")  # it becomes a header
API_URL = re.compile(r"https?://[!-~]{1,500}")


@dataclass(frozen=True, kw_only=True)
class Access:
    """What calling the forge takes. `name` is the repository as the forge calls it; `stored` is the encrypted token."""

    api: Api
    url: str
    name: str
    token: str
    stored: bytes

    def client(self) -> Client:
        return Client(self.url, self.api.headers(self.token), self.token)

    def git_login(self) -> tuple[str, str]:
        """User and password for fetching over https."""
        return self.api.git_login(self.token)


def of(db: Database, vault: Vault, repository: Repository) -> Access | None:
    """None when the repository has no token, or no forge with an API."""
    stored, api = forge_access.token(db, repository.id), APIS.get(repository.forge)
    if stored is None or api is None:
        return None
    token = vault.decrypt(stored).decode()
    return Access(api=api, url=api_url(repository), name=name(repository), token=token, stored=stored)


def has_api(repository: Repository) -> bool:
    return repository.forge in APIS


def no_api(forge: str) -> str:
    """Why a repository of this kind takes no API token, and what opens a private one."""
    if forge == projects.HOSTED:
        return "a project that is pushed to this server has no API token: there is no forge with an API"
    return (
        f"a repository of kind {forge} takes no API token: pushmill knows no API of it. If that is the wrong kind, name its"
        " forge by --forge; if it is private, give a user and a password or token in its URL, https://USER:TOKEN@HOST/PATH"
    )


def name(repository: Repository) -> str:
    """As deliveries called it, before the first one as its URL does."""
    remote = hosting.remote_of(repository)
    return repository.full_name or (remote.path if remote else "")


def api_url(repository: Repository) -> str:
    """Where the API is: as set, else where the forge has it; "" when that is not known."""
    api, remote = APIS.get(repository.forge), hosting.remote_of(repository)
    if repository.api_url or api is None or remote is None or not remote.page:
        return repository.api_url
    return api.api_url(remote.page.removesuffix(f"/{remote.path}"))


def set_token(db: Database, vault: Vault, repository: Repository, token: str) -> None:
    """Take another token, "" for none any more, and have the last day's commits told with it. Raises InvalidInput."""
    if token and not has_api(repository):
        raise InvalidInput(no_api(repository.forge))
    if token and not TOKEN.fullmatch(token):
        raise InvalidInput(f"a token has 4 to 2,000 ASCII characters and no blanks, this has {len(token)}")
    with transaction(db):
        forge_access.set_token(db, repository.id, vault.encrypt(token.encode()) if token else None)
        outbox.drop_due(db, repository.id)
    marks.mark_recent(db, repository.id)


def set_api_url(db: Database, repository: Repository, url: str) -> None:
    """Say where the API is, such as https://git.example.org/api/v4; "" for where the forge has it. Raises InvalidInput."""
    if url and not API_URL.fullmatch(url):
        raise InvalidInput(f"{url[:200]!r} is no address of an API: use https://host/path")
    with transaction(db):
        forge_access.set_api_url(db, repository.id, url.rstrip("/"))


def resume(db: Database, repository: Repository) -> None:
    """Have the forge asked again: what was wrong with the token or the address is mended."""
    with transaction(db):
        forge_access.resume(db, repository.id)
