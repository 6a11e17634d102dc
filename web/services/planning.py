"""What an event would make run here, and what for: the same for a real one and for who only asks."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from sqlite_utils import Database

from core import git
from core.errors import GitError, InvalidInput
from core.model import EventKind, Project, PushEvent, Repository, is_zero
from web.services import rules
from web.services.heads import Head
from web.services.rules import Changes, Choice, Facts
from web.store import commits, environments, launched, projects, variables
from web.store.launched import Launched

MAX_PATHS = 10_000
LOOKED_BACK = 20  # pushes of a ref among which a newer one is looked for
LATE = "a newer push of this branch runs already"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """`skip` is why nothing runs at all, "" when the rules decide."""

    choice: Choice
    skip: str = ""


def plan(
    db: Database,
    project: Project,
    repository: Repository,
    path: Path,
    event: PushEvent,
    head: Head,
    *,
    base_branch: str = "",
    rule: str = "",
) -> Plan:
    """What an event that ends at `head` makes run. `base_branch` is a pull request's, `rule` the one that is due."""
    if reason := rules.skip_reason(event, head.info.message):
        return Plan(choice=Choice(), skip=reason)
    if head.config_state != "ok":
        return Plan(choice=Choice())
    try:
        known = rules.parse(project.rules)
    except InvalidInput as error:
        return Plan(choice=Choice(), skip=f"the project's rules cannot be used: {error}")
    facts = Facts(
        base_branch=base_branch,
        rule=rule,
        changes=functools.cache(lambda: changes(db, repository, path, event, base_branch)),
        environments={name for found in environments.listing(db) for name in (found.slug, found.uuid)},
    )
    provided = variables.names(db, project.id)
    return Plan(choice=rules.choose(head.config, event, head.info.message, provided, rules=known, facts=facts))


def changes(db: Database, repository: Repository, path: Path, event: PushEvent, base_branch: str) -> Changes:
    """The paths that a push to a branch, or a pull request to `base_branch`, changed."""
    default = projects.repository(db, repository.id).default_branch  # a first push has just told it
    try:
        base = _base(path, event, base_branch, f"refs/heads/{default}")
        found = git.changed_paths(path, base, event.after, MAX_PATHS)
    except GitError as error:
        return Changes(why=str(error))
    return Changes(paths=found, why="" if found is not None else f"there are more than {MAX_PATHS:,}")


def _base(path: Path, event: PushEvent, base_branch: str, default_ref: str) -> str | None:
    """The commit against which an event's changes are seen, None for "everything is new"."""
    if event.kind is EventKind.PULL_REQUEST:
        if git.is_shallow(path):
            raise GitError("its history is fetched once it is approved")
        if git.resolve(path, f"refs/heads/{base_branch}") is None:
            raise GitError(f"its base branch {base_branch[:200]} is not here")
        return git.merge_base(path, f"refs/heads/{base_branch}", event.after)
    if not is_zero(event.before) and git.resolve(path, event.before) is not None:
        return event.before
    return None if event.ref == default_ref else git.merge_base(path, default_ref, event.after)


def is_late(db: Database, repository_id: int, path: Path, event: PushEvent, push_id: int | None = None) -> bool:
    """Whether another push of its ref, recorded before, is newer: one that has this event's commit in its history.

    `push_id` is the event's own row, None when it has none.
    """
    if event.kind is EventKind.SCHEDULE or git.resolve(path, event.ref) == event.after:
        return False
    recorded = commits.pushes_of_ref(db, repository_id, event.kind, event.ref, LOOKED_BACK)
    others = {push.after for push in recorded if push.id != push_id and push.after != event.after and not push.deleted}
    return any(git.is_ancestor(path, event.after, other) for other in others)


def superseded(
    db: Database, repository_id: int, event: PushEvent, choice: Choice, before: int | None = None
) -> list[Launched]:
    """What runs or waits and is to stop for this event: of the same branch, pull request or schedule, from older ones.

    Older are those that stand before the push `before`, or all.
    """
    found = launched.unfinished_of_ref(db, repository_id, event.kind, event.ref, before)
    if event.kind is EventKind.SCHEDULE:
        same = {
            one.push_id for one in found if one.push_id and commits.get_push(db, one.push_id).pusher == event.pusher
        }
        found = [one for one in found if one.push_id in same]
    return [one for one in found if choice.supersedes(one.target)]
