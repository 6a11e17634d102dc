"""Forges by their name in the webhook's URL."""

from __future__ import annotations

from collections.abc import Mapping

from hooks.forges import bitbucket, gitea, github, gitlab, gogs, plain
from hooks.forges.base import Forge

FORGES: Mapping[str, Forge] = {
    "bitbucket": bitbucket,
    "gitea": gitea,
    "forgejo": gitea,  # the same webhooks
    "github": github,
    "gitlab": gitlab,
    "gogs": gogs,
    "plain": plain,
}


def by_host(host: str) -> str | None:
    """Return the forge of a host, if the host's name indicates one."""
    return next((name for name, forge in FORGES.items() if forge.serves(host.lower())), None)
