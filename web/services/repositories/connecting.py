"""Connect a repository elsewhere to a new project, for the command line and the pages."""

from __future__ import annotations

import re

from core.config import Config
from core.git import url as git_url
from core.model import Project, Repository
from hooks.forges.registry import find_forge_by_host
from web.services.context import Context
from web.services.repositories import credentials, hosting
from web.store import projects

NOT_IN_NAMES = re.compile(r"[^a-z0-9]+")
NAME_CHARS = 64


def detect_forge(config: Config, url: str | None) -> str:
    """Return the forge that the URL of a repository names, if any. Raises GitError for a URL that is not allowed."""
    if url is None:
        return projects.HOSTED
    return find_forge_by_host(_allowed(config, url).host) or "plain"


def make_default_name(config: Config, url: str) -> str:
    """Return the default name of a project: that of its repository. Raises GitError."""
    last = _allowed(config, url).address.rstrip("/").rpartition("/")[2].removesuffix(".git")
    return NOT_IN_NAMES.sub("-", last.lower()).strip("-")[:NAME_CHARS]


def add(context: Context, name: str, owner_id: int, url: str | None, forge: str) -> tuple[Project, str]:
    """Add a project; return it with its webhook's secret. Raises GitError for a URL that is not allowed.

    Without a URL the project is pushed to this server.
    """
    if url is not None:
        _allowed(context.config, url)
    made, secret = hosting.add_project(context, name, owner_id, forge=forge, url=url)
    repository = hosting.get_repository(context.db, made)
    if repository.forge == projects.HOSTED:
        hosting.prepare(context, made, repository)
    return made, secret


def store_token(context: Context, repository: Repository, token: str | None, api_url: str | None) -> None:
    """Store the token, "" to remove it, and the API's URL; None leaves either as it is. Raises InvalidInput."""
    if token is not None:
        credentials.set_token(context, repository, token)
    if api_url is not None:
        credentials.set_api_url(context.db, repository, api_url)


def _allowed(config: Config, url: str) -> git_url.RemoteUrl:
    return git_url.parse(url, allow_local=config.git.allow_local, allow_http=config.git.allow_http)
