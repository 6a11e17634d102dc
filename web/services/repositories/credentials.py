"""Access to the API of a repository's forge: its address, the token and the repository's name there."""

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
from web.services.context import Context
from web.services.forges import enqueue
from web.services.repositories import hosting
from web.store import audit, forge_access, outbox, projects
from web.store.audit import Act, Kind
from web.store.db import Database, transaction

TOKEN = re.compile(r"[!-~]{4,2000}")  # it is sent in a header
NOWHERE = "https://example.invalid"
API_URL = re.compile(r"https?://[!-~]{1,500}")


@dataclass(frozen=True, kw_only=True)
class Access:
    """Everything needed to call the forge. `name` is the repository's name there; `stored` is the encrypted token."""

    api: Api
    url: str
    name: str
    token: str
    stored: bytes

    def client(self, deadline: float | None = None) -> Client:
        """Return a client for the forge; `deadline` as in `Client`."""
        return Client(self.url, self.api.headers(self.token), self.token, deadline)

    def git_login(self) -> tuple[str, str]:
        """Return user and password for fetching over https."""
        return self.api.git_login(self.token)


def load_access(context: Context, repository: Repository) -> Access | None:
    """Return the access to a repository's forge; None without a token or a forge with an API."""
    stored, api = forge_access.find_token(context.db, repository.id), APIS.get(repository.forge)
    if stored is None or api is None:
        return None
    token = context.vault.decrypt(stored).decode()
    return Access(
        api=api, url=get_api_url(repository), name=get_repository_name(repository), token=token, stored=stored
    )


def has_forge_api(repository: Repository) -> bool:
    return repository.forge in APIS


def explain_missing_api(forge: str) -> str:
    """Return why a repository of this kind takes no API token, and how to give access to a private one."""
    if forge == projects.HOSTED:
        return "a project that is pushed to this server has no forge, so it takes no API token"
    return (
        f"pushmill cannot call an API of the forge {forge}, so it takes no token. If that is the wrong forge, name the"
        " right one with --forge; if the repository is private, give a user and a password or token in its URL, https://USER:TOKEN@HOST/PATH"
    )


def get_repository_name(repository: Repository) -> str:
    """Return the repository's name on its forge: from its deliveries, before the first one from its URL."""
    remote = hosting.find_remote(repository)
    if repository.full_name or remote is None:
        return repository.full_name
    return remote.path.removeprefix(_below(repository, remote)).lstrip("/")


def get_api_url(repository: Repository) -> str:
    """Return the address of the forge's API: as set, else the usual one of such a forge; "" if unknown."""
    api, remote = APIS.get(repository.forge), hosting.find_remote(repository)
    if repository.api_url or api is None or remote is None or not remote.page:
        return repository.api_url
    return api.api_url(f"{remote.site}/{_below(repository, remote)}".rstrip("/"))


def _below(repository: Repository, remote: RemoteUrl) -> str:
    """Return the path of the forge's pages on its host, such as "git" for https://host/git/owner/name; usually "".

    Derived from the name in deliveries, from the API's address, or from the number of parts of a name. On a forge with
    nested groups that number is not fixed, so it is not used.
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


def set_token(context: Context, repository: Repository, token: str) -> None:
    """Replace the API token, "" to remove it, and enqueue the commits of the last day. Raises InvalidInput."""
    if token and not has_forge_api(repository):
        raise InvalidInput(explain_missing_api(repository.forge))
    if token and not TOKEN.fullmatch(token):
        raise InvalidInput(f"a token must have 4 to 2,000 ASCII characters and no spaces, this one has {len(token)}")
    db = context.db
    with transaction(db):
        forge_access.set_token(db, repository.id, context.vault.encrypt(token.encode()) if token else None)
        outbox.drop_due(db, repository.id)
        act = Act.CHANGE if token else Act.REMOVE
        audit.record(db, act, Kind.CREDENTIALS, "API token of the Git host", repository.project_id)
    enqueue.enqueue_recent(db, repository.id)


def set_api_url(db: Database, repository: Repository, url: str) -> None:
    """Set the API's address, such as https://git.example.org/api/v4; "" for the usual one. Raises InvalidInput."""
    if "@" in url.partition("://")[2].partition("/")[0]:
        raise InvalidInput(
            "the address of an API has no user and no password: store the token with `pushmill project set-token`"
        )
    if url and not API_URL.fullmatch(url):
        raise InvalidInput(f"{url[:200]!r} is not the address of an API: use https://host/path")
    with transaction(db):
        forge_access.set_api_url(db, repository.id, url.rstrip("/"))
        audit.record(db, Act.CHANGE, Kind.SETTINGS, "API of the Git host", repository.project_id, url)


def resume_posting(db: Database, repository: Repository) -> None:
    """Resume calls to the forge, after a problem with the token or the address was fixed."""
    with transaction(db):
        forge_access.resume_posting(db, repository.id)
