"""A pull request's head becomes a push of its own, and is followed as one."""

from __future__ import annotations

from dataclasses import replace

from sqlite_utils import Database

from core import git, names
from core.config import Config
from core.errors import GitError
from core.git import url as git_url
from core.model import EventKind, PullRequest, PullRequestEvent, PushEvent
from web.services import heads, hosting, trigger
from web.services.heads import CommitMissing
from web.services.trigger import Source
from web.store import commits, pull_requests
from web.store.db import transaction

CLOSED = "it is closed, nothing runs"


def note(db: Database, source: Source, event: PullRequestEvent) -> str | None:
    """Keep what an event says; its outcome, or None when its head must be fetched and followed."""
    repository_id, at = source.repository.id, source.delivery.received_at
    known = pull_requests.find(db, repository_id, event.number)
    if event.closed:
        if not (source.again and known):
            with transaction(db):
                pull_requests.save(db, repository_id, event, event.sha if names.is_sha(event.sha) else "", at)
        return CLOSED
    if source.again or known is None or not _is_recorded(db, known, event):
        return None
    with transaction(db):
        pull_requests.save(db, repository_id, event, known.sha, at)
    return trigger.KNOWN


def follow(db: Database, config: Config, source: Source, event: PullRequestEvent) -> str:
    """Record the head of a pull request, fetched as far as the repository has it, with all that follows; the outcome.

    Raises CommitMissing. An event that comes after that of a newer head does not make its own the present one.
    """
    sha, there = _head(config, source, event)
    known = pull_requests.find(db, source.repository.id, event.number)
    late = known is not None and sha != there and _is_older(source, sha, known)
    if known is not None and (late or source.again):
        request = known
    else:
        with transaction(db):
            request = pull_requests.save(db, source.repository.id, event, sha, source.delivery.received_at)
    if request.closed and not source.again:
        return CLOSED  # meanwhile: this delivery had to wait
    push = _push(db, request, event, sha, "" if late else request.sha)
    head = heads.read(db, source.project, source.path, sha)
    present = request if late else replace(request, sha=sha)
    outcome = trigger.follow(db, config, replace(source, pull_request=present), push, head)
    if not (late or source.again):
        pull_requests.set_head(db, request.id, sha)
    return outcome


def _is_recorded(db: Database, known: PullRequest, event: PullRequestEvent) -> bool:
    """Whether an event is about the present head, which was followed: so it tells of a title or a label."""
    is_present = known.sha.startswith(event.sha)
    return is_present and commits.find_push(db, known.repository_id, _identity(known, known.sha)) is not None


def _is_older(source: Source, sha: str, known: PullRequest) -> bool:
    return sha != known.sha and git.is_ancestor(source.path, sha, known.sha)


def _push(db: Database, request: PullRequest, event: PullRequestEvent, sha: str, before: str) -> PushEvent:
    """`before` is the head that was known before; what is recorded of this one already knows it better."""
    identity = _identity(request, sha)
    recorded = commits.find_push(db, request.repository_id, identity)
    if recorded is not None:
        before = recorded.before
    return PushEvent(
        kind=EventKind.PULL_REQUEST,
        ref=f"refs/pull/{request.number}/head",
        before=before if before not in ("", sha) else "0" * len(sha),
        after=sha,
        pusher=event.author or request.author,
        identity=identity,
    )


def _identity(request: PullRequest, sha: str) -> str:
    return f"pull request {request.number} {sha}"


def _head(config: Config, source: Source, event: PullRequestEvent) -> tuple[str, str | None]:
    """The full name of an event's commit, and the head that the repository has now. Raises CommitMissing."""
    ref = git.pinned(event.fetch_ref or f"refs/pull/{event.number}/head")
    if event.fetch_url:
        _fetch_fork(config, source, event)
    elif not event.fetch_ref:
        if event.from_fork:
            raise CommitMissing("its fork is gone")
        ref = f"refs/heads/{event.head_branch}"
    full = git.resolve(source.path, event.sha) if names.is_sha(event.sha) else None
    sha = full or git.resolve_beginning(source.path, event.sha, ref)
    if sha is None:
        raise CommitMissing(f"the repository has no commit {event.sha}")
    return sha, git.resolve(source.path, ref)


def _fetch_fork(config: Config, source: Source, event: PullRequestEvent) -> None:
    """From where the repository itself lies and nowhere else, and without what opens the repository."""
    home = hosting.remote_of(source.repository)
    try:
        fork = git_url.parse(event.fetch_url, allow_local=False, allow_http=config.git.allow_http)
        if home is None or fork.site.lower() != home.site.lower():
            raise CommitMissing(f"{fork.address} lies elsewhere than the repository and is not fetched")
        git.fetch_fork(
            source.path,
            event.fetch_url,
            f"refs/heads/{event.head_branch}",
            kept_as=f"refs/pull/{event.number}/head",
            allow_http=config.git.allow_http,
        )
    except GitError as error:
        raise CommitMissing(str(error)) from None
