"""Plan what an event runs, the same for real events and dry runs.

A commit without a configuration is compared with its base. Both `web.services.triggers.record`, for real events, and
`web.services.triggers.dry_run` use this plan, so they always agree.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from core import git
from core.errors import GitError, InvalidInput
from core.model import Commit, EventKind, Project, PushEvent, Repository, is_zero
from web.config.steps.parse import YAML_BYTES
from web.services.repositories.commit_head import Head
from web.services.triggers import rules
from web.services.triggers.rules import Changes, Choice, Facts, runnable
from web.store import commits, environments, launched, projects, variables
from web.store.db import Database
from web.store.launched import Launched

MAX_PATHS = 10_000
LOOKED_BACK = 20  # pushes of a ref that are searched for a newer one
LATE = "a newer push of this branch runs already"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What an event runs. `skip` is why nothing should run, `problem` why nothing can; both "" if the rules decide.

    `deleted` is not "" if the event deletes the configuration: its commit has none, but its base does.
    """

    choice: Choice
    skip: str = ""
    problem: str = ""
    deleted: str = ""


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
    """Plan an event that ends at `head`. `base_branch` is that of a pull request, `rule` the name of the due rule."""
    if reason := rules.skip_reason(event, head.info.message):
        return Plan(choice=Choice(), skip=reason)
    if nothing_declared(head):
        return Plan(choice=Choice(), deleted=_deleted(db, project, repository, path, event, base_branch))
    if head.config_state != "ok":
        return Plan(choice=Choice())
    try:
        known = rules.parse(project.rules)
    except InvalidInput as error:
        return Plan(choice=Choice(), problem=f"the project's rules cannot be used: {error}")
    facts = Facts(
        base_branch=base_branch,
        rule=rule,
        changes=functools.cache(lambda: changed_paths_of(db, repository, path, event, base_branch)),
        environments={name for found in environments.listing(db) for name in (found.slug, found.uuid)},
    )
    provided = variables.names(db, project.id)
    return Plan(choice=rules.choose(head.config, event, head.info.message, provided, rules=known, facts=facts))


def changed_paths_of(db: Database, repository: Repository, path: Path, event: PushEvent, base_branch: str) -> Changes:
    """Return the paths changed by a push to a branch or by a pull request to `base_branch`."""
    default = projects.repository(db, repository.id).default_branch  # read again: a first push has just set it
    try:
        base = _base(path, event, base_branch, f"refs/heads/{default}")
        found = git.changed_paths(path, base, event.after, MAX_PATHS)
    except GitError as error:
        return Changes(why=str(error))
    return Changes(paths=found, why="" if found is not None else f"there are more than {MAX_PATHS:,}")


def _deleted(
    db: Database, project: Project, repository: Repository, path: Path, event: PushEvent, base_branch: str
) -> str:
    """Return why a commit without a configuration should have one (its base has one), else ""."""
    branch = base_branch or projects.repository(db, repository.id).default_branch
    tip = git.resolve(path, f"refs/heads/{branch}")
    if event.kind is EventKind.PULL_REQUEST:
        bases = [tip, git.merge_base(path, tip, event.after) if tip else None]
    elif event.kind is EventKind.PUSH and event.branch == branch:
        bases = [None if is_zero(event.before) else event.before]
    else:
        bases = [git.merge_base(path, tip, event.after) if tip and event.branch else None]
    if any(base and not _is_empty(db, project, path, base) for base in bases):
        return f"{project.yaml_path} has no steps, and on {branch} it has"
    return ""


def _is_empty(db: Database, project: Project, path: Path, sha: str) -> bool:
    """Return whether a commit is missing or declares nothing to run.

    Nothing is parsed for this: an unknown commit counts as declaring something if it has a non-empty file.
    """
    if git.resolve(path, sha) is None:
        return True
    known = commits.find_by_identifier(db, project.id, sha)
    if known is not None and known.yaml_path == project.yaml_path:
        return nothing_declared(known)
    try:
        return (git.read_file(path, sha, project.yaml_path, YAML_BYTES) or b"").strip() in (b"", b"[]")
    except GitError:
        return False


def nothing_declared(head: Head | Commit) -> bool:
    return head.config_state == "missing" or (head.config_state == "ok" and not runnable.declared_targets(head.config))


def _base(path: Path, event: PushEvent, base_branch: str, default_ref: str) -> str | None:
    """Return the commit that an event is compared with; None if everything is new. Raises GitError."""
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
    """Return whether a recorded push of the same ref is newer: it has this event's commit in its history.

    `push_id` is the event's own row, None if it has none.
    """
    if event.kind is EventKind.SCHEDULE or git.resolve(path, event.ref) == event.after:
        return False
    recorded = commits.pushes_of_ref(db, repository_id, event.kind, event.ref, LOOKED_BACK)
    others = {push.after for push in recorded if push.id != push_id and push.after != event.after and not push.deleted}
    return any(git.is_ancestor(path, event.after, other) for other in others)


def superseded(
    db: Database, repository_id: int, event: PushEvent, choice: Choice, before: int | None = None
) -> list[Launched]:
    """Return unfinished runs that this event supersedes: older ones of the same branch, pull request or schedule.

    With `before`, only runs of pushes before that one count as older; without it, all.
    """
    found = launched.unfinished_of_ref(db, repository_id, event.kind, event.ref, before)
    if event.kind is EventKind.SCHEDULE:
        same = {
            one.push_id for one in found if one.push_id and commits.get_push(db, one.push_id).pusher == event.pusher
        }
        found = [one for one in found if one.push_id in same]
    return [one for one in found if choice.supersedes(one.target)]
