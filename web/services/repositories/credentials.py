"""Reaching the API of a repository's forge: where it is, with which token, under which name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from core.errors import InvalidInput
from core.git.url import RemoteUrl
from core.model import Repository
from hooks.apis.base import Api
from hooks.apis.client import Client
from hooks.apis.registry import APIS
from web.services.forges import enqueue
from web.services.repositories import hosting
from web.services.vault import Vault
from web.store import forge_access, outbox, projects
from web.store.db import Database, transaction

TOKEN = re.compile(r"[!-~]{4,2000}")  # it becomes a header
NOWHERE = "https://example.invalid"
API_URL = re.compile(r"https?://[!-~]{1,500}")


@dataclass(frozen=True, kw_only=True)
class Access:
    """What calling the forge takes. `name` is the repository as the forge calls it; `stored` is the encrypted token."""

    api: Api
    url: str
    name: str
    token: str
    stored: bytes

    def client(self, deadline: float | None = None) -> Client:
        """`deadline` as of `Client`."""
        return Client(self.url, self.api.headers(self.token), self.token, deadline)

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
    """The repository's name on its forge: as deliveries called it, before the first one as its URL does."""
    remote = hosting.remote_of(repository)
    if repository.full_name or remote is None:
        return repository.full_name
    return remote.path.removeprefix(_below(repository, remote)).lstrip("/")


def api_url(repository: Repository) -> str:
    """The address of the forge's API: as set, else where such a forge has it; "" when that is not known."""
    api, remote = APIS.get(repository.forge), hosting.remote_of(repository)
    if repository.api_url or api is None or remote is None or not remote.page:
        return repository.api_url
    return api.api_url(f"{remote.site}/{_below(repository, remote)}".rstrip("/"))


def _below(repository: Repository, remote: RemoteUrl) -> str:
    """The path of the forge's pages on its host, such as "git" for https://host/git/owner/name; mostly "".

    Known from the name that deliveries have given, from the API's address, or from the length of names. On a forge with
    nested groups the length says nothing.
    """
    api, known, path = APIS.get(repository.forge), repository.full_name, remote.path
    if known and path.lower().endswith(f"/{known.lower()}"):
        return path[: -len(known) - 1]
    stated = urlsplit(repository.api_url).path
    root = urlsplit(api.api_url(NOWHERE)).path if api else ""
    below = stated.removesuffix(root).strip("/")
    if below and stated.endswith(root) and path.startswith(f"{below}/"):
        return below
    return "" if api is None or api.NESTED else path.rpartition("/")[0].rpartition("/")[0]


def set_token(db: Database, vault: Vault, repository: Repository, token: str) -> None:
    """Take another token, "" for none any more, and have the last day's commits told with it. Raises InvalidInput."""
    if token and not has_api(repository):
        raise InvalidInput(no_api(repository.forge))
    if token and not TOKEN.fullmatch(token):
        raise InvalidInput(f"a token has 4 to 2,000 ASCII characters and no blanks, this has {len(token)}")
    with transaction(db):
        forge_access.set_token(db, repository.id, vault.encrypt(token.encode()) if token else None)
        outbox.drop_due(db, repository.id)
    enqueue.mark_recent(db, repository.id)


def set_api_url(db: Database, repository: Repository, url: str) -> None:
    """Say where the API is, such as https://git.example.org/api/v4; "" for where the forge has it. Raises InvalidInput."""
    if "@" in url.partition("://")[2].partition("/")[0]:
        raise InvalidInput("the address of an API has no user and no password: give the token as the token")
    if url and not API_URL.fullmatch(url):
        raise InvalidInput(f"{url[:200]!r} is no address of an API: use https://host/path")
    with transaction(db):
        forge_access.set_api_url(db, repository.id, url.rstrip("/"))


def resume(db: Database, repository: Repository) -> None:
    """Have the forge asked again: what was wrong with the token or the address is mended."""
    with transaction(db):
        forge_access.resume(db, repository.id)
