"""What one event makes run: chosen by the rules, and recorded with its executions in one transaction."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from sqlite_utils import Database

from core.config import Config
from core.model import Commit, Project, PushEvent, Repository, User
from web.services import launch, rules
from web.services.heads import Head
from web.store import commits, projects, users, variables
from web.store.db import transaction
from web.store.deliveries import Delivery

MESSAGE_CHARS = 64 * 1024
KNOWN = "was recorded before"


@dataclass(frozen=True, kw_only=True)
class Source:
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


def follow(db: Database, config: Config, source: Source, event: PushEvent, head: Head) -> str:
    """Record an event that ends at `head` with all that follows from it; the outcome. The same event again does nothing."""
    event = replace(event, message=head.info.message[:MESSAGE_CHARS], after=head.info.sha)  # which a tag leads to
    reason, choice = rules.skip_reason(event, head.info.message), rules.Choice()
    if reason is None and head.config_state == "ok":
        provided = variables.names(db, source.project.id)
        choice = rules.choose(head.config, event, head.info.message, provided)
    outcome = f"skipped: {reason}" if reason else _outcome(event, head, choice)
    with transaction(db):
        push_id = commits.add_push(db, source.repository.id, event, source.delivery.id, again=source.again)
        if push_id is None:
            return KNOWN
        commit = _add_commit(db, source, event, head)
        creator = users.by_name(db, event.pusher) or _owner(db, source.project)
        for resolved in choice.run:
            launch.launch(db, config, source.project, commit, resolved, creator, push_id=push_id)
        commits.finish_push(db, push_id, commit_id=commit.id, outcome=outcome, skipped=choice.skipped)
    return outcome


def record(db: Database, source: Source, event: PushEvent, outcome: str) -> str:
    """Record an event that leads to no commit."""
    with transaction(db):
        push_id = commits.add_push(db, source.repository.id, event, source.delivery.id, again=source.again)
        if push_id is None:
            return KNOWN
        commits.finish_push(db, push_id, commit_id=None, outcome=outcome)
    return outcome


def _add_commit(db: Database, source: Source, event: PushEvent, head: Head) -> Commit:
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


def _outcome(event: PushEvent, head: Head, choice: rules.Choice) -> str:
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
