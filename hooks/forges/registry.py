"""Forges by their name in the webhook's URL."""

from __future__ import annotations

from collections.abc import Mapping

from hooks.forges.base import Forge
from hooks.forges.bitbucket import Bitbucket
from hooks.forges.gitea import Gitea
from hooks.forges.github import GitHub
from hooks.forges.gitlab import GitLab
from hooks.forges.gogs import Gogs
from hooks.forges.plain import Plain

GITEA = Gitea()
PLAIN = Plain()
FORGES: Mapping[str, Forge] = {
    "bitbucket": Bitbucket(),
    "gitea": GITEA,
    "forgejo": GITEA,  # the same webhooks
    "github": GitHub(),
    "gitlab": GitLab(),
    "gogs": Gogs(),
    "plain": PLAIN,
}


def find_forge_by_host(host: str) -> str | None:
    """Return the forge of a host, if the host's name indicates one."""
    return next((name for name, forge in FORGES.items() if forge.serves(host.lower())), None)
