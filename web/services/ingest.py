"""From stored deliveries to commits and executions. May be killed anywhere: what it had not finished it does again."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from core import git
from core.config import Config
from core.errors import GitError, InvalidDelivery, InvalidYaml
from core.model import Commit, Project, PushEvent, Repository, User
from core.steps.parse import YAML_BYTES
from core.steps.sandbox import parse_limited
from hooks import post_receive
from hooks.forges import plain
from hooks.forges.base import Forge, Ignored
from hooks.forges.registry import FORGES
from web.services import dispatch, hosting, launch, rules, unrecorded
from web.services.queues import Queues
from web.services.vault import Vault
from web.store import commits, deliveries, projects, users, variables
from web.store.db import transaction
from web.store.deliveries import Delivery

logger = logging.getLogger(__name__)

GIVE_UP_ATTEMPTS = 450  # with the longest back-off, about three days
MISSING_ATTEMPTS = 5  # a forge may announce a commit seconds before it serves it; for ever means it was forced away
MESSAGE_CHARS = 64 * 1024


class _CommitMissing(GitError):
    """Raised when a delivery names a commit that the repository does not have, or not yet."""


@dataclass(frozen=True, kw_only=True)
class _Source:
    """Where an event came from and where its commit lies."""

    project: Project
    repository: Repository
    path: Path
    delivery: Delivery

    @property
    def hosted(self) -> bool:
        return self.repository.forge == projects.HOSTED

    @property
    def again(self) -> bool:
        """Somebody asked for what came in before, so being known is no reason to do nothing."""
        return self.delivery.again_of is not None


@dataclass(frozen=True, kw_only=True)
class _Head:
    """The commit that an event ends at, with its configuration as `commits.add` records it."""

    info: git.CommitInfo
    config_state: str
    config: Any
    problems: tuple[str, ...]


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
        except _CommitMissing as error:
            _postpone(db, delivery, str(error))
        except GitError as error:
            _postpone(db, delivery, str(error))
            return
        except Exception as error:
            logger.exception("delivery=%d cannot be handled", row)
            _postpone(db, delivery, f"internal error, see the worker's log: {type(error).__name__}: {error}")


def forge_of(repository: Repository) -> Forge:
    return FORGES["plain" if repository.forge == projects.HOSTED else repository.forge]


def _postpone(db: Database, delivery: Delivery, reason: str) -> None:
    if delivery.attempts + 1 >= GIVE_UP_ATTEMPTS:
        deliveries.finish(db, delivery.id, "failed", f"given up after {delivery.attempts + 1} attempts: {reason}")
    else:
        deliveries.postpone(db, delivery, reason)


def _handle(db: Database, config: Config, vault: Vault, delivery: Delivery) -> tuple[str, str]:
    """The state and the message that the delivery ends with."""
    repository = projects.repository(db, delivery.repository_id)
    events = forge_of(repository).parse(delivery.headers, delivery.body)
    if isinstance(events, Ignored):
        return "ignored", events.reason
    project = projects.get(db, repository.project_id)
    path = hosting.repository_path(config, repository)
    source = _Source(project=project, repository=repository, path=path, delivery=delivery)
    if not source.hosted:
        _fetch(db, config, vault, source, [event.after for event in events if not event.deleted])
    _follow_head(db, source)
    outcomes = [f"{event.ref}: {_push(db, config, source, event)}" for event in events]
    return "done", "; ".join(outcomes)


def _fetch(db: Database, config: Config, vault: Vault, source: _Source, shas: list[str]) -> None:
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
    )


def _follow_head(db: Database, source: _Source) -> None:
    """The default branch is the one that HEAD names: the first one pushed, main and master before others."""
    git.set_head_to_first_branch(source.path)
    head = (source.path / "HEAD").read_text(encoding="utf-8", errors="replace").strip()
    branch = head.removeprefix("ref: refs/heads/")
    if branch not in (head, source.repository.default_branch):
        projects.set_default_branch(db, source.repository.id, branch)


def _push(db: Database, config: Config, source: _Source, event: PushEvent) -> str:
    """Record one event with all that follows from it, in one transaction; the outcome."""
    if event.deleted:
        return _record(db, source, event, "deleted")
    if not event.ref.startswith(("refs/heads/", "refs/tags/")):
        return _record(db, source, event, "ignored: neither a branch nor a tag")
    try:
        head = _read(db, source, event)
    except _CommitMissing as error:
        if not source.hosted and source.delivery.attempts < MISSING_ATTEMPTS:
            raise
        return _record(db, source, event, f"failed: {error}")
    event = replace(event, message=head.info.message[:MESSAGE_CHARS])
    reason, choice = rules.skip_reason(event, head.info.message), rules.Choice()
    if reason is None and head.config_state == "ok":
        provided = variables.names(db, source.project.id)
        choice = rules.choose(head.config, event, head.info.message, provided)
    outcome = f"skipped: {reason}" if reason else _outcome(event, head, choice)
    with transaction(db):
        push_id = commits.add_push(db, source.repository.id, event, source.delivery.id, again=source.again)
        if push_id is None:
            return "was recorded before"
        commit = _add_commit(db, source, event, head)
        creator = users.by_name(db, event.pusher) or _owner(db, source.project)
        for resolved in choice.run:
            launch.launch(db, config, source.project, commit, resolved, creator, push_id=push_id)
        commits.finish_push(db, push_id, commit_id=commit.id, outcome=outcome, skipped=choice.skipped)
    return outcome


def _record(db: Database, source: _Source, event: PushEvent, outcome: str) -> str:
    """Record an event that leads to no commit."""
    with transaction(db):
        push_id = commits.add_push(db, source.repository.id, event, source.delivery.id, again=source.again)
        if push_id is None:
            return "was recorded before"
        commits.finish_push(db, push_id, commit_id=None, outcome=outcome)
    return outcome


def _read(db: Database, source: _Source, event: PushEvent) -> _Head:
    """Pin and read the commit. Raises _CommitMissing."""
    sha = git.resolve(source.path, event.after)
    if sha is None:
        raise _CommitMissing(f"{event.ref} points to {event.after}, and the repository has no such commit")
    git.pin(source.path, sha)
    info = git.commit_info(source.path, sha)
    known = commits.known(db, source.project.id, sha)
    if known is not None and known.yaml_path == source.project.yaml_path:
        return _Head(info=info, config_state=known.config_state, config=known.config, problems=known.problems)
    state, config, problems = _configuration(source.path, sha, source.project.yaml_path)
    return _Head(info=info, config_state=state, config=config, problems=problems)


def _configuration(path: Path, sha: str, yaml_path: str) -> tuple[str, Any, tuple[str, ...]]:
    """The state of a commit's configuration, the configuration and what there is to say about it."""
    try:
        data = git.read_file(path, sha, yaml_path, YAML_BYTES)
        if data is None:
            return "missing", None, (f"the commit has no {yaml_path}: nothing can run",)
        found = parse_limited(data)
    except InvalidYaml as error:
        return "broken", None, tuple(error.problems)
    except GitError as error:
        return "broken", None, (str(error),)
    return "ok", found.config, found.problems


def _add_commit(db: Database, source: _Source, event: PushEvent, head: _Head) -> Commit:
    return commits.add(
        db,
        project_id=source.project.id,
        repository_id=source.repository.id,
        identifier=head.info.sha,
        ref=event.ref.split("/", 2)[2],
        message=event.message,
        author=head.info.author,
        committed_at=head.info.committed_at,
        yaml_path=source.project.yaml_path,
        config_state=head.config_state,
        config=head.config,
        problems=head.problems,
    )


def _outcome(event: PushEvent, head: _Head, choice: rules.Choice) -> str:
    if head.config_state == "missing":
        return head.problems[0]
    if head.config_state == "broken":
        return f"broken configuration: {head.problems[0]}"[:500]
    if choice.run:
        return "1 execution" if len(choice.run) == 1 else f"{len(choice.run)} executions"
    if choice.skipped:
        return "nothing runs: every step was skipped"
    return "nothing runs: there is no step" if event.branch is not None else "tag recorded"


def _owner(db: Database, project: Project) -> User:
    owner = users.get(db, project.owner_id)
    assert owner is not None  # noqa: S101  (a foreign key)
    return owner
