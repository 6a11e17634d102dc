"""Decide which submodules and Git LFS servers of a commit may be fetched, and which get the project's credentials.

Hosts are an allow-list because the pusher writes `.gitmodules`, and git resolves names itself.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import urlsplit

from core import git
from core.errors import GitError
from core.git import url as git_url
from core.git.url import RemoteUrl


@dataclass(frozen=True, kw_only=True)
class FetchRules:
    """Rules on what may be fetched. `home` is the project's remote, opened by `login`; None for a hosted repository."""

    home: RemoteUrl | None
    login: git.Login
    hosts: Collection[str]
    allow_local: bool
    allow_http: bool

    def place(self, url: str, parent: RemoteUrl | None) -> RemoteUrl:
        """Return the remote that a commit of `parent` names. Raises GitError if it may not be fetched."""
        if url.startswith(("./", "../")):
            if parent is None:
                raise GitError(
                    f"its URL {url[:200]!r} is relative to the repository's, which was pushed to this server and has none"
                )
            url = resolve_relative_url(parent.address, url)
        remote = git_url.parse(url, allow_local=self.allow_local, allow_http=self.allow_http)
        home = self.home
        if remote.scheme == "file":
            if home is None or home.scheme != "file":
                raise GitError(f"{remote.address} is on the server's disk, and the repository is not")
        elif not (home and remote.host == home.host):
            if remote.host not in self.hosts:
                raise GitError(f"{remote.address}: host {remote.host} is not one of [git] submodule_hosts")
            if remote.scheme == "ssh":
                raise GitError(f"{remote.address}: the repository's key is not used for other hosts; use https://")
        return remote

    def login_for(self, remote: RemoteUrl) -> git.Login:
        """Return the project's credentials, only for its repository's own host and never over a weaker channel."""
        if self.home is None or remote.username or remote.password or not _same_owner(self.home, remote):
            return git.Login()
        return self.login


def resolve_relative_url(base: str, url: str) -> str:
    """Resolve a relative URL in .gitmodules by git's rules. Raises GitError if it leaves the host."""
    base, prefix = base.rstrip("/"), base.partition("://")[0] + "://" if "://" in base else ""
    while url.startswith(("./", "../")):
        up, _, url = url.partition("/")
        if up == "..":
            cut = max(base.rfind("/"), base.rfind(":"))
            if cut < len(prefix) or (prefix and "/" not in base[len(prefix) :]):
                raise GitError(f"{url[:200]!r} leads out of {base}")
            base = base[: cut + 1] if base[cut] == ":" else base[:cut]
    return f"{base}{url}" if base.endswith(":") else f"{base}/{url}"


def _same_owner(home: RemoteUrl, remote: RemoteUrl) -> bool:
    if home.host != remote.host:
        return False
    if home.scheme == remote.scheme:
        return _netloc(home) == _netloc(remote)
    if remote.scheme == "https":
        return home.scheme == "ssh" and _port(remote) is None
    return remote.scheme == "ssh"


def _netloc(remote: RemoteUrl) -> tuple[str, int | None]:
    return remote.host, _port(remote)


def _port(remote: RemoteUrl) -> int | None:
    return urlsplit(remote.address).port if "://" in remote.address else None
