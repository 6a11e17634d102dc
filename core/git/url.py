"""Remotes that may be fetched: an allow-list, because git runs programs for addresses it does not know (`ext::`)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit

from core.errors import GitError
from core.text import make_printable

# user@host:path; a user or host that starts with '-' would become an option of ssh
SCP_LIKE = re.compile(
    r"(?P<user>[A-Za-z0-9_][A-Za-z0-9._-]*)@(?P<host>[A-Za-z0-9][A-Za-z0-9.-]*):(?P<path>[^-:\s][^\s]*)"
)
SSH_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
SUPPORTED = "use https://host/path, ssh://user@host/path or user@host:path"


@dataclass(frozen=True, kw_only=True)
class RemoteUrl:
    """An allowed remote. `address` is passed to git and shown in messages: it contains no credentials.

    `scheme` is https, http, ssh or file.
    """

    scheme: str
    address: str
    username: str | None = None
    password: str | None = None

    @property
    def host(self) -> str:
        return self._parts.hostname or ""

    @property
    def path(self) -> str:
        """Repository name as on the forge, `owner/name`; "" for a repository on the disk."""
        return "" if self.scheme == "file" else self._parts.path.strip("/").removesuffix(".git")

    @property
    def page(self) -> str:
        """URL of the repository's page on the forge; "" for a repository on the disk."""
        return f"{self.site}/{self.path}" if self.site else ""

    @property
    def site(self) -> str:
        """Base URL of the forge's pages; "" for a repository on the disk."""
        if self.scheme == "file":
            return ""
        place = self.host if self.scheme == "ssh" else self._parts.netloc  # the port of ssh is not that of the pages
        return f"{'http' if self.scheme == 'http' else 'https'}://{place}"

    @property
    def ssh_place(self) -> tuple[list[str], str]:
        """Arguments of ssh that name the host, and the path of the repository there."""
        parts = self._parts
        host = f"{parts.username}@{parts.hostname}" if parts.username else parts.hostname or ""
        path = parts.path if "://" in self.address else self.address.partition(":")[2]
        return [*(["-p", str(parts.port)] if parts.port else []), "--", host], path

    @property
    def _parts(self) -> SplitResult:
        return urlsplit(self.address if "://" in self.address else f"ssh://{self.address.replace(':', '/', 1)}")


def parse(url: str, *, allow_local: bool, allow_http: bool) -> RemoteUrl:
    """Parse and check a remote URL. Raises GitError with the URL, without credentials, and the reason."""
    if CONTROL.search(url):
        raise _refusal(url, "it contains control characters")
    if url.startswith("-"):
        raise _refusal(url, "it starts with '-' and would be an option of git")
    if "::" in url:
        raise _refusal(url, "'::' asks git to run a helper program")
    if url.startswith(("/", "file://")):
        return _local(url, allow_local)
    if re.search(r"\s", url):
        raise _refusal(url, "it contains a space; write %20")
    if "://" in url:
        return _with_scheme(url, allow_http)
    if SCP_LIKE.fullmatch(url):
        return RemoteUrl(scheme="ssh", address=url)
    raise _refusal(url, SUPPORTED)


def split_login(url: str) -> tuple[str, tuple[str, str] | None]:
    """Return `url` without user and password, and these two; None if it has neither.

    The user of ssh stays: it is part of the address. Raises GitError for URLs that no configuration allows.
    """
    remote = parse(url, allow_local=True, allow_http=True)
    if remote.scheme not in ("https", "http"):
        return url, None
    login = (remote.username or "", remote.password or "")
    return remote.address, login if any(login) else None


def remove_credentials(url: str) -> str:
    """Return `url` for a message: no user, password or query, no control characters, at most 200 characters."""
    shown = re.sub(r"//.*@", "//", url.partition("?")[0], flags=re.DOTALL)
    return make_printable(shown)[:200]


def _local(url: str, allowed: bool) -> RemoteUrl:
    path = url.removeprefix("file://")
    if not allowed:
        raise _refusal(url, "repositories on the server's disk are off; [git] allow_local turns them on")
    if not path.startswith("/") or ".." in path.split("/"):
        raise _refusal(url, "a local repository needs an absolute path without '..'")
    return RemoteUrl(scheme="file", address=path)


def _with_scheme(url: str, allow_http: bool) -> RemoteUrl:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise _refusal(url, str(error)) from None
    if parts.scheme == "http" and not allow_http:
        raise _refusal(url, "http without TLS is off; use https, or turn [git] allow_http on")
    if parts.scheme not in ("https", "http", "ssh"):
        raise _refusal(url, f"{parts.scheme}:// is not supported; {SUPPORTED}")
    if not host or host.startswith("-") or not parts.path.strip("/"):
        raise _refusal(url, f"it has no host or no path; {SUPPORTED}")
    if parts.query or parts.fragment:
        raise _refusal(
            url, "the URL of a repository has no query and no fragment; store a token with `pushmill project set-token`"
        )
    place = (f"[{host}]" if ":" in host else host) + (f":{port}" if port else "") + parts.path
    if parts.scheme == "ssh":
        return _ssh(url, parts.username, parts.password, place)
    return RemoteUrl(
        scheme=parts.scheme,
        address=f"{parts.scheme}://{place}",
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
    )


def _ssh(url: str, username: str | None, password: str | None, place: str) -> RemoteUrl:
    if password:
        raise _refusal(url, "ssh takes a key, not a password")
    if username and not SSH_NAME.fullmatch(username):
        raise _refusal(url, "the user name is not valid")
    return RemoteUrl(scheme="ssh", address=f"ssh://{username}@{place}" if username else f"ssh://{place}")


def _refusal(url: str, reason: str) -> GitError:
    return GitError(f"{remove_credentials(url)!r} cannot be fetched: {reason}")
