"""From stored deliveries to commits and executions. May be killed anywhere: what it had not finished it does again."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from sqlite_utils import Database

from core import git, names
from core.config import Config
from core.errors import GitError, InvalidDelivery
from core.model import PullRequestEvent, PushEvent, Repository
from hooks import post_receive
from hooks.forges import plain
from hooks.forges.base import Forge, Ignored
from hooks.forges.registry import FORGES
from web.services import dispatch, heads, hosting, pull_requests, trigger, unrecorded
from web.services.heads import CommitMissing
from web.services.queues import Queues
from web.services.trigger import Source
from web.services.vault import Vault
from web.store import deliveries, projects
from web.store.deliveries import Delivery

logger = logging.getLogger(__name__)

GIVE_UP_ATTEMPTS = 450  # with the longest back-off, about three days
SHA_1_CHARS = 40
MISSING_ATTEMPTS = 5  # a forge may announce a commit seconds before it serves it; for ever means it was forced away


def drain(db: Database, config: Config, vault: Vault, queues: Queues) -> None:
    """Handle every stored delivery whose time has come, in order, one repository after the other."""
    collect(db, config)
    for repository_id in deliveries.waiting(db):
        ingest_repository(db, config, vault, repository_id)
    dispatch.dispatch(db, queues)


def collect(db: Database, config: Config) -> None:
    """Store what the hooks of the repositories that we serve have written as files."""
    for repository in projects.repositories_of_forge(db, projects.HOSTED):
        collect_from(db, config, repository)
        unrecorded.record(db, config, repository)


def collect_from(db: Database, config: Config, repository: Repository) -> None:
    """Store a repository's push files as deliveries, oldest first, and delete them."""
    folder = hosting.repository_path(config, repository) / post_receive.FOLDER
    for file in sorted(folder.glob(post_receive.PUSH_FILES)):
        try:
            body = file.read_bytes()
        except FileNotFoundError:
            continue  # its hook, or another sweep, was faster
        try:
            name = plain.delivery_id({}, body)
        except InvalidDelivery as error:
            logger.error("push=%s refused: %s", file, error)
            file.replace(file.with_suffix(".refused"))
            continue
        deliveries.store(
            db, repository.id, source=repository.forge, delivery_id=name, event="push", headers={}, body=body
        )
        file.unlink(missing_ok=True)


def ingest_repository(db: Database, config: Config, vault: Vault, repository_id: int) -> None:
    """Handle the stored deliveries of one repository in order, until one must wait for its remote. Raises nothing."""
    row = 0
    while delivery := deliveries.next_stored(db, repository_id, row):
        row = delivery.id
        try:
            deliveries.finish(db, row, *_handle(db, config, vault, delivery))
        except InvalidDelivery as error:
            deliveries.finish(db, row, "failed", str(error))
        except CommitMissing as error:
            _postpone(db, delivery, str(error))
        except GitError as error:
            _postpone(db, delivery, str(error))
            return
        except Exception as error:
            logger.exception("delivery=%d cannot be handled", row)
            _postpone(db, delivery, f"internal error, see the worker's log: {type(error).__name__}: {error}")


def forge_of(source: str) -> Forge:
    """What reads the bodies of deliveries from this source; those that come from no forge are in our own hook's form."""
    return FORGES.get(source, plain)


def _postpone(db: Database, delivery: Delivery, reason: str) -> None:
    if delivery.attempts + 1 >= GIVE_UP_ATTEMPTS:
        deliveries.finish(db, delivery.id, "failed", f"given up after {delivery.attempts + 1} attempts: {reason}")
    else:
        deliveries.postpone(db, delivery, reason)


def _handle(db: Database, config: Config, vault: Vault, delivery: Delivery) -> tuple[str, str]:
    """The state and the message that the delivery ends with."""
    repository = projects.repository(db, delivery.repository_id)
    events = forge_of(delivery.source).parse(delivery.headers, delivery.body)
    if isinstance(events, Ignored):
        return "ignored", events.reason
    project = projects.get(db, repository.project_id)
    path = hosting.repository_path(config, repository)
    source = Source(project=project, repository=repository, path=path, delivery=delivery)
    if isinstance(events, PullRequestEvent):
        return _pull_request(db, config, vault, source, events)
    if not source.hosted:
        _fetch(db, config, vault, source, [event.after for event in events if not event.deleted])
    _follow_head(db, source)
    outcomes = [f"{event.ref}: {_push(db, config, source, event)}" for event in events]
    return "done", "; ".join(outcomes)


def _pull_request(
    db: Database, config: Config, vault: Vault, source: Source, event: PullRequestEvent
) -> tuple[str, str]:
    outcome = pull_requests.note(db, source, event)
    if outcome is None:
        shas = [event.sha] if names.is_sha(event.sha) else []
        _fetch(db, config, vault, source, shas, [event.fetch_ref] if event.fetch_ref else [])
        _follow_head(db, source)
        try:
            outcome = pull_requests.follow(db, config, source, event)
        except CommitMissing as error:
            if source.delivery.attempts < MISSING_ATTEMPTS:
                raise
            return "failed", f"pull request {event.number}: {error}"
    return "done", f"pull request {event.number}: {outcome}"


def _fetch(
    db: Database, config: Config, vault: Vault, source: Source, shas: list[str], more: Sequence[str] = ()
) -> None:
    if any(len(sha) > SHA_1_CHARS for sha in shas):  # each try would fail, for three days
        raise InvalidDelivery(f"the repository names its objects by SHA-256, {post_receive.ONLY_SHA_1}")
    if source.repository.url is None:
        raise GitError(
            f"repository {source.repository.id} has no URL to fetch from: `pushmill hook install` on this machine sets it"
        )
    key = projects.ssh_key(db, source.repository.id)
    git.init_mirror(source.path)
    git.fetch(
        source.path,
        source.repository.url,
        allow_local=config.git.allow_local,
        allow_http=config.git.allow_http,
        ssh_key=vault.decrypt(key) if key else None,
        shas=shas,
        more=more,
    )


def _follow_head(db: Database, source: Source) -> None:
    """The default branch is the one that HEAD names: the first one pushed, main and master before others."""
    git.set_head_to_first_branch(source.path)
    head = (source.path / "HEAD").read_text(encoding="utf-8", errors="replace").strip()
    branch = head.removeprefix("ref: refs/heads/")
    if branch not in (head, source.repository.default_branch):
        projects.set_default_branch(db, source.repository.id, branch)


def _push(db: Database, config: Config, source: Source, event: PushEvent) -> str:
    """Record one event with all that follows from it; the outcome."""
    if event.deleted:
        return trigger.record(db, source, event, "deleted")
    if not event.ref.startswith(("refs/heads/", "refs/tags/")):
        return trigger.record(db, source, event, "ignored: neither a branch nor a tag")
    try:
        head = heads.read(db, source.project, source.path, event.after)
    except CommitMissing as error:
        missing = f"{event.ref} points to {event.after}, and {error}"
        if not source.hosted and source.delivery.attempts < MISSING_ATTEMPTS:
            raise CommitMissing(missing) from None
        return trigger.record(db, source, event, f"failed: {missing}")
    return trigger.follow(db, config, source, event, head)
