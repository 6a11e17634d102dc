"""Turn stored deliveries into commits and executions. May be killed anywhere: unfinished deliveries are retried.

One transaction per push: either all of it is recorded or nothing.

A report of our own hook is checked against the repository although it is signed: the pusher chooses the bytes of push
options, and hooks of version 1 wrote them unescaped. The ref must point to the reported commit, or have it in its
history or in its reflog, which hosted repositories have for this (`git.has_pointed_to`). A refused event is recorded as
late (`web.services.triggers.planning`).
"""

from __future__ import annotations

import logging
import math
import time
from contextlib import suppress
from dataclasses import replace

from core import git
from core.errors import GitError, InvalidDelivery
from core.model import PullRequestEvent, PushEvent, Repository
from hooks import post_receive
from hooks.forges.payload import Ignored
from hooks.forges.registry import FORGES, PLAIN
from web.services.context import Context
from web.services.deliveries import pull_requests
from web.services.presentation import verdict
from web.services.repositories import commit_head, fork_heads, hosting, lost_pushes, polling, remotes
from web.services.repositories.commit_head import CommitMissing, HeadRefused, may_arrive
from web.services.triggers import approvals, planning, record, schedule
from web.services.triggers.planning import EventSource
from web.store import deliveries, projects, pushes
from web.store.db import Database
from web.store.deliveries import Delivery, DeliveryState, OwnSource, Received
from web.store.pushes import PushResult

logger = logging.getLogger(__name__)

GIVE_UP_ATTEMPTS = 450  # about three days, with the longest back-off


def collect_push_files(context: Context) -> None:
    """Store deliveries for the push files that hooks of hosted repositories have written, and for lost pushes."""
    for repository in projects.list_repositories_for_forge(context.db, projects.HOSTED):
        try:
            collect_push_files_of(context, repository)
            lost_pushes.record_lost_pushes(context, repository)
        except Exception:
            logger.exception("repository=%d: its pushes cannot be collected", repository.id)


def collect_push_files_of(context: Context, repository: Repository) -> None:
    """Store a repository's push files as deliveries, oldest first, and delete them."""
    folder = hosting.get_repository_path(context.config, repository) / post_receive.FOLDER
    for file in sorted(folder.glob(post_receive.PUSH_FILES)):
        try:
            body = file.read_bytes()
        except FileNotFoundError:
            continue  # handled by its hook or by another sweep
        try:
            name = PLAIN.delivery_id({}, body)
        except InvalidDelivery as error:
            logger.error("push=%s refused: %s", file, error)
            with suppress(FileNotFoundError):  # as above
                file.replace(file.with_suffix(".refused"))
            continue
        deliveries.store(context.db, Received(repository.id, repository.forge, "push", body=body), name)
        file.unlink(missing_ok=True)


def ingest_repository(context: Context, repository_id: int, until: float = math.inf) -> None:
    """Handle the stored deliveries of one repository in order, until one must wait for its remote. Never raises.

    No delivery is started after `until`, a time of time.monotonic.
    """
    row = 0
    while (delivery := deliveries.find_next_stored(context.db, repository_id, row)) and time.monotonic() < until:
        row = delivery.id
        try:
            deliveries.finish(context.db, row, *_handle(context, delivery))
        except InvalidDelivery as error:
            deliveries.finish(context.db, row, DeliveryState.FAILED, str(error))
        except CommitMissing as error:
            _postpone(context.db, delivery, str(error))
        except GitError as error:
            retry_at = _postpone(context.db, delivery, f"cannot fetch: {error}")
            projects.set_fetch_problem(context.db, repository_id, str(error), retry_at)
            return
        except Exception as error:
            logger.exception("delivery=%d cannot be handled", row)
            _postpone(context.db, delivery, f"internal error, see the worker's log: {type(error).__name__}: {error}")


def _handle(context: Context, delivery: Delivery) -> tuple[DeliveryState, str]:
    """Handle a delivery and return its final state and message."""
    repository = projects.get_repository(context.db, delivery.repository_id)
    project = projects.get(context.db, repository.project_id)
    path = hosting.get_repository_path(context.config, repository)
    budget = commit_head.ReadBudget(context.config.limits)
    source = EventSource(project=project, repository=repository, path=path, delivery=delivery, budget=budget)
    if delivery.source == OwnSource.SCHEDULE:
        return _scheduled(context, source)
    if delivery.source == OwnSource.APPROVAL:
        return _approved(context, source)
    events = FORGES.get(delivery.source, PLAIN).parse(delivery.headers, delivery.body)
    if isinstance(events, Ignored):
        return DeliveryState.IGNORED, events.reason
    if isinstance(events, PullRequestEvent):
        return _pull_request(context, source, events)
    if not source.hosted:
        remotes.fetch(context, repository, [event.after for event in events if not event.deleted])
    source = _follow_head(context.db, source)
    outcomes = [f"{event.ref}: {_push(context, source, event)}" for event in events]
    return DeliveryState.DONE, "; ".join(outcomes)


def _follow_head(db: Database, source: EventSource) -> EventSource:
    """Set the default branch to the one that HEAD names: the first one pushed, preferring main and master."""
    branch = git.set_head_to_first_branch(source.path)
    if branch in (None, source.repository.default_branch):
        return source
    projects.set_default_branch(db, source.repository.id, branch)
    return replace(source, repository=replace(source.repository, default_branch=branch))


def _push(context: Context, source: EventSource, event: PushEvent) -> str:
    """Record one event, launch its runs unless the repository contradicts it, and return the outcome."""
    db, may_wait = context.db, not source.hosted and may_arrive(source.delivery)
    if why := _refusal(db, source, event):
        if may_wait:
            raise CommitMissing(why)
        return record.record(db, replace(source, late=True), event, why)
    if source.delivery.source == OwnSource.POLL and not source.again:
        event = polling.update_event(source.path, event)
        if event.before == event.after:
            return "unchanged"
    if event.deleted:
        return record.record(db, source, event, "deleted")
    if not event.ref.startswith(("refs/heads/", "refs/tags/")):
        return record.record(db, source, event, "ignored: neither a branch nor a tag")
    try:
        head = commit_head.read_head(db, source.project, source.path, event.after, source.budget)
    except CommitMissing as error:
        missing = f"{event.ref} points to {event.after}, and {error}"
        if may_wait and not planning.compare_with_recorded(db, source, event).known:
            raise CommitMissing(missing) from None
        return record.record(db, source, event, f"failed: {missing}", PushResult.FAILED)
    return record.trigger(context, source, event, head)


def _refusal(db: Database, source: EventSource, event: PushEvent) -> str:
    """Return why an event of our own hook cannot be true, else "": the pusher may have forged parts of its report.

    Also refuses an event whose ref was moved or deleted before it ran anything. Accepted events are not checked again.
    """
    if FORGES.get(source.delivery.source, PLAIN) is not PLAIN or source.delivery.source == OwnSource.POLL:
        return ""
    if event.deleted:
        there = git.list_refs(source.path).get(event.ref)
        return f"ignored: {event.ref} was not deleted or exists again: it points to {there[0]}" if there else ""
    if git.has_pointed_to(source.path, event.ref, event.after):
        return ""
    commit = git.resolve(source.path, event.after) or event.after
    if pushes.has_moved(db, source.repository.id, event.ref, commit):
        return ""
    return f"nothing runs: the repository does not show that {event.ref} has ever pointed to {event.after}"


def _pull_request(context: Context, source: EventSource, event: PullRequestEvent) -> tuple[DeliveryState, str]:
    outcome = pull_requests.record_pull_request(context.db, source, event)
    if event.closed:
        fork_heads.forget(context.config, source.repository, event.number)
    if outcome is None:
        remotes.fetch(context, source.repository, *pull_requests.list_wanted(context.db, source, event))
        source = _follow_head(context.db, source)
        try:
            outcome = pull_requests.follow_head(context, source, event)
        except HeadRefused as error:
            pull_requests.refuse(context.db, source, event)
            return DeliveryState.FAILED, f"pull request {event.number}: {error}"
        except CommitMissing as error:
            if may_arrive(source.delivery):
                raise
            return DeliveryState.FAILED, f"pull request {event.number}: {error}"
    return DeliveryState.DONE, f"pull request {event.number}: {outcome}"


def _approved(context: Context, source: EventSource) -> tuple[DeliveryState, str]:
    """Fetch an approved commit and launch the runs that waited for the approval."""
    asked = approvals.parse_approved(source.delivery.body)
    urls = approvals.fetch_urls_of_waiting(context.db, source.project, source.repository.id, asked.sha)
    if not urls:
        return DeliveryState.IGNORED, f"commit {asked.sha} no longer waits for approval"
    try:
        fork_heads.fetch_whole(context, source.repository, asked.sha, urls[0])
    except CommitMissing as error:
        if may_arrive(source.delivery):
            raise
        return DeliveryState.FAILED, str(error)
    made = approvals.launch(context, source.project, asked)
    return (
        DeliveryState.DONE,
        f"commit {asked.sha} is approved: {verdict.format_run_counts(one.target.kind for one in made) or 'nothing runs'}",
    )


def _scheduled(context: Context, source: EventSource) -> tuple[DeliveryState, str]:
    """Run the current head of a branch. A missing branch is not retried: the next scheduled time will come."""
    due = schedule.parse_due(source.delivery.body)
    if not source.again and (why := schedule.explain_overtaken(source.project, due)):
        return DeliveryState.IGNORED, why
    if not source.hosted:
        remotes.fetch(context, source.repository, [])
        source = _follow_head(context.db, source)
    branch = due.branch or source.repository.default_branch
    sha = git.resolve(source.path, f"refs/heads/{branch}") if source.path.is_dir() else None
    if sha is None:
        return DeliveryState.FAILED, f"rule {due.rule} runs branch {branch}, which does not exist"
    head = commit_head.read_head(context.db, source.project, source.path, sha, source.budget)
    source = replace(source, rule=due.rule)
    return (
        DeliveryState.DONE,
        f"{branch}: {record.trigger(context, source, schedule.make_event(due, branch, sha), head)}",
    )


def _postpone(db: Database, delivery: Delivery, reason: str) -> str | None:
    """Postpone a delivery and return when it is retried; None if it is given up."""
    if delivery.attempts + 1 >= GIVE_UP_ATTEMPTS and deliveries.is_due(delivery):
        deliveries.finish(
            db, delivery.id, DeliveryState.FAILED, f"given up after {delivery.attempts + 1} attempts: {reason}"
        )
        return None
    return deliveries.postpone(db, delivery, reason)
