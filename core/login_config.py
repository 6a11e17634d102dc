"""`[login.NAME]`: settings of logins by other servers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from core.errors import ConfigError

GITHUB = "https://github.com"
LOGIN_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")


@dataclass(frozen=True, kw_only=True)
class LoginConfig:
    """`[login.NAME]`: a provider of logins by OpenID Connect, or GitHub by OAuth."""

    kind: str = "oidc"  # or "github"
    issuer: str = ""  # the provider's URL as in its tokens; of GitHub "" or the URL of a GitHub Enterprise Server
    client_id: str = ""
    client_secret: str = ""
    text: str = ""  # of the button; "" = "Log in with NAME"
    scopes: tuple[str, ...] = ()  # asked for in addition to openid, profile and email, such as "groups"
    domains: tuple[str, ...] = ()  # of verified e-mail addresses that may log in; empty = all
    groups: tuple[str, ...] = ()  # one of which a user must be in (of GitHub: organisations); empty = all
    create: bool = False  # whether unknown people get an account, or must link an existing one
    role: str = "reader"  # of created users in `projects`
    projects: tuple[str, ...] = ()

    @property
    def site(self) -> str:
        """The issuer of the accounts, without a final slash."""
        return self.issuer.rstrip("/") or GITHUB

    def check(self, where: str) -> None:
        """Raise ConfigError, which names `where`, unless logins can work with these settings."""
        if self.kind not in ("oidc", "github"):
            raise ConfigError(f'{where} kind must be "oidc" or "github", got {self.kind!r}')
        if not self.client_id or not self.client_secret:
            raise ConfigError(f"{where} needs client_id, and client_secret or client_secret_file")
        if self.role not in ("reader", "writer", "owner"):
            raise ConfigError(f"{where} role must be reader, writer or owner, got {self.role!r}")
        if not (self.kind == "github" and not self.issuer) and not _is_safe(self.issuer):
            raise ConfigError(f"{where} issuer must be an https:// URL, got {self.issuer!r}")


def _is_safe(issuer: str) -> bool:
    """Return whether nobody else can answer for the URL: TLS, or this machine."""
    try:
        found = urlsplit(issuer)
        host = found.hostname or ""
        return bool(host) and (found.scheme == "https" or (found.scheme == "http" and ip_address(host).is_loopback))
    except ValueError:
        return False
