"""What one event makes run: chosen by the rules, and recorded with its executions in one transaction."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from sqlite_utils import Database

from core.config import Config
from core.model import Commit, Project, PullRequest, PushEvent, Repository, User, short_ref
from web.services import launch, repeats, rules
from web.services.heads import Head
from web.store import approvals, commits, outbox, projects, users, variables
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
    pull_request: PullRequest | None = None  # whose head the commit is

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
    reason, choice = choose(db, source, event, head)
    request = source.pull_request
    request_id = request.id if request else None
    with transaction(db):
        push_id = commits.add_push(
            db, source.repository.id, event, source.delivery.id, again=source.again, pull_request_id=request_id
        )
        if push_id is None:
            return KNOWN
        commit = _add_commit(db, source, event, head)
        outbox.mark(db, source.repository.id, outbox.Kind.STATUS, commit.identifier)
        if choice.run and _must_wait(db, request, event):
            commits.finish_push(db, push_id, commit_id=commit.id, outcome=approvals.WAITS)
            return approvals.WAITS
        if not source.again:
            choice = repeats.less(choice, repeats.reasons(db, commit, event, request))
        outcome = f"skipped: {reason}" if reason else outcome_of(event, head, choice)
        creator = users.by_name(db, event.pusher) or _owner(db, source.project)
        run(db, config, source.project, commit, choice, creator, push_id=push_id, outcome=outcome)
    return outcome


def choose(db: Database, source: Source, event: PushEvent, head: Head) -> tuple[str | None, rules.Choice]:
    """Why the event runs nothing, or None; and what it runs."""
    reason = rules.skip_reason(event, head.info.message)
    if reason is not None or head.config_state != "ok":
        return reason, rules.Choice()
    provided = variables.names(db, source.project.id)
    return None, rules.choose(head.config, event, head.info.message, provided)


def run(
    db: Database,
    config: Config,
    project: Project,
    commit: Commit,
    choice: rules.Choice,
    creator: User,
    *,
    push_id: int,
    outcome: str,
) -> None:
    """Launch what was chosen for a recorded push, with what became of it. Call inside a transaction."""
    for resolved in choice.run:
        launch.launch(db, config, project, commit, resolved, creator, push_id=push_id)
    commits.finish_push(db, push_id, commit_id=commit.id, outcome=outcome, skipped=choice.skipped)


def record(db: Database, source: Source, event: PushEvent, outcome: str) -> str:
    """Record an event that leads to no commit."""
    with transaction(db):
        push_id = commits.add_push(db, source.repository.id, event, source.delivery.id, again=source.again)
        if push_id is None:
            return KNOWN
        commits.finish_push(db, push_id, commit_id=None, outcome=outcome)
    return outcome


def _must_wait(db: Database, request: PullRequest | None, event: PushEvent) -> bool:
    """Whether the commit is a stranger's and nobody has let it run."""
    return request is not None and request.from_fork and not approvals.find(db, request.repository_id, event.after)


def _add_commit(db: Database, source: Source, event: PushEvent, head: Head) -> Commit:
    return commits.add(
        db,
        project_id=source.project.id,
        repository_id=source.repository.id,
        identifier=head.info.sha,
        ref=short_ref(event.ref),
        message=event.message,
        author=head.info.author,
        committed_at=head.info.committed_at,
        yaml_path=source.project.yaml_path,
        config_state=head.config_state,
        config=head.config,
        problems=head.problems,
    )


def outcome_of(event: PushEvent, head: Head, choice: rules.Choice) -> str:
    """What is said of what was chosen."""
    if head.config_state == "missing":
        return head.problems[0]
    if head.config_state == "broken":
        return f"broken configuration: {head.problems[0]}"[:500]
    if choice.run:
        return "1 execution" if len(choice.run) == 1 else f"{len(choice.run)} executions"
    if choice.skipped:
        return "nothing runs: every step was skipped"
    return "tag recorded" if event.ref.startswith("refs/tags/") else "nothing runs: there is no step"


def _owner(db: Database, project: Project) -> User:
    owner = users.get(db, project.owner_id)
    assert owner is not None  # noqa: S101  (a foreign key)
    return owner
