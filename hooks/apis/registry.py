"""APIs by the name of their forge. Gogs and plain git have no API that accepts statuses."""

from __future__ import annotations

from collections.abc import Mapping

from hooks.apis.base import Api
from hooks.apis.bitbucket import BitbucketApi
from hooks.apis.gitea import GiteaApi
from hooks.apis.github import GitHubApi
from hooks.apis.gitlab import GitLabApi

APIS: Mapping[str, Api] = {
    "bitbucket": BitbucketApi(),
    "forgejo": GiteaApi(),  # the same API
    "gitea": GiteaApi(),
    "github": GitHubApi(),
    "gitlab": GitLabApi(),
}
