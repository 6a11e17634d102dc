"""Heads of forks' pull requests: fetched within limits before they are approved, completely afterwards.

No code may use the history before the approval, so the forge's current head counts, an event about another head is
retried a few times, and all paths count as changed. Closing a pull request removes the ref and repacks the repository
of heads.
"""

from __future__ import annotations

import logging

from core import git
from core.config import Config
from core.errors import GitError
from core.git import url as git_url
from core.model import PullRequestEvent, Repository
from web.services import disk
from web.services.context import Context
from web.services.repositories import hosting, remotes
from web.services.repositories.commit_head import CommitMissing, HeadRefused, may_arrive
from web.services.triggers.planning import EventSource
from web.store.pull_requests import PullRequest

logger = logging.getLogger(__name__)


def is_from_fork(event: PullRequestEvent, known: PullRequest | None) -> bool:
    """Return whether the head of a pull request comes from a fork, so that its size is not trusted.

    A head that is a branch of the repository itself was pushed by someone with write access.
    """
    has_place = bool(event.fetch_ref or event.fetch_url)
    return event.from_fork or (has_place and known is not None and known.from_fork)


def fetch(context: Context, source: EventSource, event: PullRequestEvent) -> str:
    """Fetch the current head of a fork's pull request, without history and within the limits, and return its sha.

    An event may arrive before the forge serves its commit, or after the next one: both raise CommitMissing and are
    retried, and after MISSING_ATTEMPTS the current head counts. Raises HeadRefused beyond the limits.
    """
    config, ref = context.config, f"refs/pull/{event.number}/head"
    path = hosting.get_forks_path(config, source.repository)
    bounds = git.Bounds(
        bytes=min(config.git.fork_bytes, max(1, disk.compute_available_bytes(config))), all_bytes=config.git.forks_bytes
    )
    try:
        git.init_forks(path, source.path)
        remote, remote_ref = _place(context, source.repository, event)
        git.fetch_head(path, remote, remote_ref, kept_as=ref, bounds=bounds)
    except (git.TooLarge, git.TooSlow) as error:
        raise HeadRefused(
            f"its commit is not fetched: {error}; the limits are [git] fork_bytes, forks_bytes and fork_time"
        ) from None
    except GitError as error:
        raise CommitMissing(str(error)) from None
    sha = git.resolve(path, git.to_pinned_ref(ref))
    if sha is None:
        raise CommitMissing(f"the repository has no commit {event.sha}")
    if not sha.startswith(event.sha) and may_arrive(source.delivery):
        raise CommitMissing(f"its head is {sha} there, not {event.sha}")
    return sha


def fetch_whole(context: Context, repository: Repository, sha: str, fork_url: str = "") -> None:
    """Fetch an approved commit with history into the mirror. Raises CommitMissing and the errors of `remotes.fetch`."""
    path = hosting.get_repository_path(context.config, repository)
    remotes.fetch(context, repository, [] if fork_url else [sha])
    if fork_url and git.resolve(path, sha) is None:
        try:
            git.fetch_fork(path, fork_url, sha, allow_http=context.config.git.allow_http)
        except GitError as error:
            raise CommitMissing(str(error)) from None
    if git.resolve(path, sha) is None:
        raise CommitMissing(f"the repository has no commit {sha}")


def forget(config: Config, repository: Repository, number: int) -> None:
    """Delete the head of a closed pull request. If that fails, the next one that is closed deletes it too."""
    try:
        git.forget_head(hosting.get_forks_path(config, repository), f"refs/pull/{number}/head")
    except GitError as error:
        logger.warning("repository=%d pull request %d: %s", repository.id, number, error)


def _place(context: Context, repository: Repository, event: PullRequestEvent) -> tuple[git.RemoteSource, str]:
    """Return the remote and the ref of the head: in the repository itself, else in the fork. Raises GitError."""
    limit = context.config.git.fork_time
    if event.fetch_ref:
        return remotes.make_source(context, repository, time_limit_s=limit), event.fetch_ref
    if not event.fetch_url:
        raise CommitMissing("its fork was deleted")
    home = hosting.find_remote(repository)
    fork = git_url.parse(event.fetch_url, allow_local=False, allow_http=context.config.git.allow_http)
    if home is None or fork.site.lower() != home.site.lower():
        raise CommitMissing(f"{fork.address} is on another host than the repository and is not fetched")
    source = git.make_fork_source(event.fetch_url, allow_http=context.config.git.allow_http, time_limit_s=limit)
    return source, f"refs/heads/{event.head_branch}"
