"""Record the head of a pull request as a push, and trigger its runs like those of a push.

The push is to `refs/pull/N/head`, identified by number and commit, so each head runs once, by the same code as a push.
Git's history and the current state of the repository decide whether a head is older than the known one: a head may have
been force-pushed back.
"""

from __future__ import annotations

from dataclasses import replace

from core import git, names
from core.model import EventKind, PullRequestEvent, PushEvent
from web.services.context import Context
from web.services.forges import enqueue
from web.services.repositories import commit_head, fork_heads, hosting
from web.services.repositories.commit_head import CommitMissing
from web.services.triggers import planning, record
from web.services.triggers.planning import EventSource
from web.store import approvals, pull_requests, pushes
from web.store.db import Database, transaction
from web.store.pull_requests import PullRequest

CLOSED = "it is closed, nothing runs"


def record_pull_request(db: Database, source: EventSource, event: PullRequestEvent) -> str | None:
    """Store an event's data. Returns its outcome, or None if its head must be fetched and followed."""
    repository_id, at = source.repository.id, source.delivery.received_at
    known = pull_requests.find(db, repository_id, event.number)
    if event.closed:
        if not (source.again and known):
            with transaction(db):
                saved = pull_requests.save(db, repository_id, event, event.sha if names.is_sha(event.sha) else "", at)
                enqueue.enqueue_head(db, saved)
        return CLOSED
    if source.again or known is None or not _is_recorded(db, known, event):
        return None
    with transaction(db):
        enqueue.enqueue_head(db, pull_requests.save(db, repository_id, event, known.sha, at))
    return planning.KNOWN


def list_wanted(db: Database, source: EventSource, event: PullRequestEvent) -> tuple[list[str], list[str]]:
    """Return the commits and refs that the mirror needs for an event; none for a fork's head, fetched separately."""
    if fork_heads.is_from_fork(event, pull_requests.find(db, source.repository.id, event.number)):
        return [], []
    return [event.sha] if names.is_sha(event.sha) else [], [event.fetch_ref] if event.fetch_ref else []


def follow_head(context: Context, source: EventSource, event: PullRequestEvent) -> str:
    """Record the head of a pull request, launch its runs and return the outcome. The mirror must have been fetched.

    An event that arrives after that of a newer head does not replace the current head. Raises CommitMissing and
    HeadRefused.
    """
    known = pull_requests.find(context.db, source.repository.id, event.number)
    if fork_heads.is_from_fork(event, known):
        source, sha, late = *_fork_head(context, source, event), False
    else:
        sha, there = _head(source, event)
        late = known is not None and sha != there and _is_older(source, sha, known)
    if known is not None and (late or source.again):
        request = known
    else:
        with transaction(context.db):
            request = pull_requests.save(context.db, source.repository.id, event, sha, source.delivery.received_at)
    if request.closed and not source.again:
        return CLOSED  # in the meantime: this delivery had to wait
    push = _push(context.db, request, event, sha, "" if late else request.sha)
    whole = source.path == hosting.get_repository_path(context.config, source.repository)
    head = commit_head.read_head(context.db, source.project, source.path, sha, source.budget, pin=whole)
    present = request if late else replace(request, sha=sha)
    outcome = record.trigger(
        context, replace(source, pull_request=present, base_branch=present.base_branch), push, head
    )
    if not (late or source.again):
        with transaction(context.db):
            pull_requests.set_head(context.db, request.id, sha)
            enqueue.enqueue_head(context.db, request)  # which can no longer be approved
            enqueue.enqueue_head(context.db, replace(request, sha=sha))
    return outcome


def refuse(db: Database, source: EventSource, event: PullRequestEvent) -> None:
    """Record a head that was refused and not fetched: the previous one can no longer be approved."""
    with transaction(db):
        sha = event.sha if names.is_sha(event.sha) else ""
        request = pull_requests.save(db, source.repository.id, event, sha, source.delivery.received_at)
        if not source.again:
            pull_requests.set_head(db, request.id, sha)


def _fork_head(context: Context, source: EventSource, event: PullRequestEvent) -> tuple[EventSource, str]:
    """Return the source and sha of the current head of a fork's pull request: in the mirror once it is approved."""
    sha = fork_heads.fetch(context, source, event)
    if approvals.find(context.db, source.repository.id, sha):
        fork_heads.fetch_whole(context, source.repository, sha, event.fetch_url)
        return source, sha
    return replace(source, path=hosting.get_forks_path(context.config, source.repository)), sha


def _is_recorded(db: Database, known: PullRequest, event: PullRequestEvent) -> bool:
    """Return whether the event is about the current head and that was followed: it changes only a title or a label."""
    is_present = known.sha.startswith(event.sha)
    return is_present and pushes.find_push(db, known.repository_id, _identity(known, known.sha)) is not None


def _is_older(source: EventSource, sha: str, known: PullRequest) -> bool:
    return sha != known.sha and git.is_ancestor(source.path, sha, known.sha)


def _push(db: Database, request: PullRequest, event: PullRequestEvent, sha: str, before: str) -> PushEvent:
    """Return a push event of the head `sha`. A `before` that was already recorded for it replaces the given one."""
    identity = _identity(request, sha)
    recorded = pushes.find_push(db, request.repository_id, identity)
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


def _head(source: EventSource, event: PullRequestEvent) -> tuple[str, str | None]:
    """Return the full sha of an event's commit, and the current head in the repository. Raises CommitMissing."""
    ref = git.to_pinned_ref(event.fetch_ref) if event.fetch_ref else f"refs/heads/{event.head_branch}"
    full = git.resolve(source.path, event.sha) if names.is_sha(event.sha) else None
    sha = full or git.resolve_beginning(source.path, event.sha, ref)
    if sha is None:
        raise CommitMissing(f"the repository has no commit {event.sha}")
    return sha, git.resolve(source.path, ref)
