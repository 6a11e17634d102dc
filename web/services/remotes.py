"""The repositories that lie elsewhere: asked and fetched with what opens them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from sqlite_utils import Database

from core import git
from core.config import Config
from core.errors import GitError, InvalidDelivery
from core.model import Repository
from hooks import post_receive
from web.services import forge_access, hosting
from web.services.vault import Vault
from web.store import projects

SHA_1_CHARS = 40


class Access(TypedDict):
    """What git is given beside the URL."""

    allow_local: bool
    allow_http: bool
    ssh_key: bytes | None
    token: str | None
    token_user: str


def fetch(
    db: Database,
    config: Config,
    vault: Vault,
    repository: Repository,
    shas: Sequence[str],
    more: Sequence[str] = (),
) -> None:
    """Make the mirror what the remote is, with these commits and the refs `more`. Raises GitError, or InvalidDelivery."""
    if any(len(sha) > SHA_1_CHARS for sha in shas):  # each try would fail, for three days
        raise InvalidDelivery(f"the repository names its objects by SHA-256, {post_receive.ONLY_SHA_1}")
    path = hosting.repository_path(config, repository)
    url = _url(repository)
    git.init_mirror(path)
    git.fetch(path, url, shas=shas, more=more, **_access(db, config, vault, repository))
    projects.set_fetched(db, repository.id)


def refs(db: Database, config: Config, vault: Vault, repository: Repository) -> dict[str, tuple[str, ...]]:
    """Where the remote's branches and tags are, as `git.remote_refs` says it. Raises GitError."""
    path = hosting.repository_path(config, repository)
    found = git.remote_refs(path, _url(repository), **_access(db, config, vault, repository))
    if any(len(names[0]) > SHA_1_CHARS for names in found.values()):
        raise GitError(f"the repository names its objects by SHA-256, {post_receive.ONLY_SHA_1}")
    return found


def _url(repository: Repository) -> str:
    if repository.url is None:
        raise GitError(
            f"repository {repository.id} has no URL to fetch from: `pushmill hook install` on this machine sets it"
        )
    return repository.url


def _access(db: Database, config: Config, vault: Vault, repository: Repository) -> Access:
    key, remote = projects.ssh_key(db, repository.id), hosting.remote_of(repository)
    access = forge_access.of(db, vault, repository) if remote and remote.password is None else None
    token_user, token = access.git_login() if access else (git.TOKEN_USER, None)
    return {
        "allow_local": config.git.allow_local,
        "allow_http": config.git.allow_http,
        "ssh_key": vault.decrypt(key) if key else None,
        "token": token,
        "token_user": token_user,
    }
