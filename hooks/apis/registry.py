"""APIs by the name of their forge. Gogs and plain git have no API that accepts statuses."""

from __future__ import annotations

from collections.abc import Mapping

from hooks.apis import bitbucket, gitea, github, gitlab
from hooks.apis.base import Api

APIS: Mapping[str, Api] = {
    "bitbucket": bitbucket,
    "forgejo": gitea,  # the same API
    "gitea": gitea,
    "github": github,
    "gitlab": gitlab,
}
