"""Decide whether an event is new, known or late, and plan what it runs; nothing is written here.

An event is known if its identity is, or if it ends where the last push of its ref ended: a push in between may not
have been reported. It is also known if it is older than a push that polling found, which reports all ref updates since.

An event is late if the last push of its ref left the ref where it is now, and the event neither begins nor ends there.
This happens when someone redelivers on the forge, and when deliveries overtake each other. A late push runs once like
any other, but badges and polling do not treat it as the newest.

A known event that a person redelivers is recorded as a push of its own that refers to the first one
(`push.again_of`). Its identity is derived from its delivery, so it also runs once. The order of the first pushes
decides which push of a ref is the newest.

Both `web.services.triggers.record`, for real events, and `web.services.triggers.dry_run` use the same plan, so they
always agree. A commit without a configuration is compared with its base.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from core import git
from core.errors import GitError, InvalidInput
from core.model import Commit, EventKind, Project, PushEvent, Repository, Target, is_zero
from web.config.steps.parse import YAML_BYTES
from web.services.repositories.commit_head import Head, ReadBudget
from web.services.triggers import rules
from web.services.triggers.rules import ChangedPaths, Choice, Facts, runnable
from web.store import commits, environments, launched, projects, pushes, variables
from web.store.db import Database
from web.store.deliveries import Delivery, OwnSource
from web.store.launched import Launched
from web.store.pull_requests import PullRequest

MAX_PATHS = 10_000
KNOWN = "was recorded before"
LATE = "a newer push of this branch already runs"
LOOKED_BACK = 20  # pushes of a ref that are searched for a newer one


@dataclass(frozen=True, kw_only=True)
class Basis:
    """The input of a plan, in addition to the event and its commit, which is in the repository at `path`.

    `base_branch` is that of a pull request, `rule` the name of the rule that is due.
    """

    project: Project
    repository: Repository
    path: Path
    base_branch: str = ""
    rule: str = ""


@dataclass(frozen=True, kw_only=True)
class EventSource(Basis):
    """The delivery that an event comes from, with the project and the repository that has its commit."""

    delivery: Delivery
    budget: ReadBudget  # for parsing the configurations of all its commits
    pull_request: PullRequest | None = None  # with this commit as head; its `sha` is the current head
    late: bool = False  # the event is older than a recorded one, or is not believed

    @cached_property
    def hosted(self) -> bool:
        return self.repository.forge == projects.HOSTED

    @cached_property
    def again(self) -> bool:
        """Whether a person redelivered an earlier delivery, so that an event runs although it is known."""
        return self.delivery.again_of is not None


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """How an event is recorded: not at all if it is `known`, else with this identity."""

    identity: str
    late: bool = False
    known: bool = False
    again_of: int | None = None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What an event runs. `skip` is why nothing should run, `problem` why nothing can; both "" if the rules decide.

    `deleted` is not "" if the event deletes the configuration: its commit has none, but its base does.
    """

    choice: Choice
    skip: str = ""
    problem: str = ""
    deleted: str = ""


def compare_with_recorded(db: Database, source: EventSource, event: PushEvent) -> Arrival:
    """Compare an event, which ends at a commit, with the recorded pushes. Holds until another push is recorded."""
    repository_id, late = source.repository.id, source.late
    first = pushes.find_push(db, repository_id, event.identity)
    if event.kind is EventKind.PUSH and (last := pushes.find_last(db, repository_id, event.ref)):
        left, ends = last.push.after, event.after
        is_poll = source.delivery.source == OwnSource.POLL and not source.again  # it reports where refs are now
        if not (late or is_poll) and left not in (event.before, ends):
            late = left == (git.resolve(source.path, event.ref) or "0" * len(left))
            if late and last.source == OwnSource.POLL and not source.again:
                return Arrival(identity=event.identity, known=True)
        if first is None and left == ends and last.push.delivery_id is not None:  # else its delivery may be on the way
            first = last.push
    if first is None:
        return Arrival(identity=event.identity, late=late)
    identity = f"again {source.delivery.id} {event.identity}"
    known = (
        not source.again
        or first.delivery_id == source.delivery.id
        or pushes.find_push(db, repository_id, identity) is not None
    )
    return Arrival(identity=identity, late=first.late, known=known, again_of=first.again_of or first.id)


def is_overtaken(db: Database, source: EventSource, event: PushEvent) -> bool:
    """Return whether a recorded push of the same ref is newer: it has this event's commit in its history.

    A schedule is not overtaken, nor a pull request's current head, nor a redelivery by a person.
    """
    request = source.pull_request
    if source.again or event.kind is EventKind.SCHEDULE or (request is not None and request.sha == event.after):
        return False
    if git.resolve(source.path, event.ref) == event.after:
        return False
    recorded = pushes.list_for_ref(db, source.repository.id, event.kind, event.ref, LOOKED_BACK)
    others = {push.after for push in recorded if push.after != event.after and not push.deleted}
    return any(git.is_ancestor(source.path, event.after, other) for other in others)


def plan(db: Database, basis: Basis, event: PushEvent, head: Head) -> Plan:
    """Plan an event that ends at `head`, with the rules as they are now."""
    if reason := rules.find_skip_reason(event, head.info.message):
        return Plan(choice=Choice(), skip=reason)
    if declares_nothing(head):
        return Plan(choice=Choice(), deleted=_deleted(db, basis, event))
    if head.config_state != "ok":
        return Plan(choice=Choice())
    try:
        known = rules.parse(basis.project.rules)
    except InvalidInput as error:
        return Plan(choice=Choice(), problem=f"the project's rules cannot be used: {error}")
    facts = Facts(
        base_branch=basis.base_branch,
        rule=basis.rule,
        changes=functools.cache(lambda: _changed_paths(basis, event)),
        environments=functools.cache(lambda: environments.list_names(db)),
    )
    provided = variables.list_names(db, basis.project.id)
    return Plan(choice=rules.choose(head.config, event, head.info.message, provided, rules=known, facts=facts))


def _changed_paths(basis: Basis, event: PushEvent) -> ChangedPaths:
    """Return the paths changed by a push to a branch or by a pull request to its base branch."""
    try:
        base = _base(basis, event)
        found = git.list_changed_paths(basis.path, base, event.after, MAX_PATHS)
    except GitError as error:
        return ChangedPaths(why=str(error))
    return ChangedPaths(paths=found, why="" if found is not None else f"there are more than {MAX_PATHS:,}")


def _deleted(db: Database, basis: Basis, event: PushEvent) -> str:
    """Return why a commit without a configuration should have one (its base has one), else ""."""
    path, branch = basis.path, basis.base_branch or basis.repository.default_branch
    tip = git.resolve(path, f"refs/heads/{branch}")
    if event.kind is EventKind.PULL_REQUEST:
        bases = [tip, git.find_merge_base(path, tip, event.after) if tip else None]
    elif event.kind is EventKind.PUSH and event.branch == branch:
        bases = [None if is_zero(event.before) else event.before]
    else:
        bases = [git.find_merge_base(path, tip, event.after) if tip and event.branch else None]
    if any(base and not _is_empty(db, basis, base) for base in bases):
        return f"{basis.project.yaml_path} has no steps, and on {branch} it has"
    return ""


def _is_empty(db: Database, basis: Basis, sha: str) -> bool:
    """Return whether a commit is missing or declares nothing to run.

    Nothing is parsed for this: an unknown commit counts as declaring something if it has a non-empty file.
    """
    path, project = basis.path, basis.project
    if git.resolve(path, sha) is None:
        return True
    known = commits.find_by_identifier(db, project.id, sha)
    if known is not None and known.yaml_path == project.yaml_path:
        return declares_nothing(known)
    try:
        return (git.read_file(path, sha, project.yaml_path, YAML_BYTES) or b"").strip() in (b"", b"[]")
    except GitError:
        return False


def declares_nothing(head: Head | Commit) -> bool:
    declared = (kind.names(head.config) for kind in runnable.KINDS.values())
    return head.config_state == "missing" or (head.config_state == "ok" and not any(declared))


def _base(basis: Basis, event: PushEvent) -> str | None:
    """Return the commit that an event is compared with; None if everything is new. Raises GitError."""
    path, base_branch, default_ref = basis.path, basis.base_branch, f"refs/heads/{basis.repository.default_branch}"
    if event.kind is EventKind.PULL_REQUEST:
        if git.is_shallow(path):
            raise GitError("its history is fetched once it is approved")
        if git.resolve(path, f"refs/heads/{base_branch}") is None:
            raise GitError(f"its base branch {base_branch[:200]} is not here")
        return git.find_merge_base(path, f"refs/heads/{base_branch}", event.after)
    if not is_zero(event.before) and git.resolve(path, event.before) is not None:
        return event.before
    return None if event.ref == default_ref else git.find_merge_base(path, default_ref, event.after)


def list_superseded(
    db: Database, repository_id: int, event: PushEvent, choice: Choice, before: int | None = None
) -> list[Launched]:
    """Return unfinished runs that this event supersedes: older ones of the same branch, pull request or schedule.

    With `before`, only runs of pushes before that one count as older; without it, all.
    """
    found = launched.list_unfinished_for_ref(db, repository_id, event.kind, event.ref, before)
    if event.kind is EventKind.SCHEDULE:
        same = {one.push_id for one in found if one.push_id and pushes.get_push(db, one.push_id).pusher == event.pusher}
        found = [one for one in found if one.push_id in same]
    return [one for one in found if choice.supersedes(one.target)]


def explain_duplicates(
    db: Database, commit: Commit, event: PushEvent, request: PullRequest | None
) -> dict[Target, str]:
    """Return by target why it need not run for this event: it already runs for the other kind on the same branch."""
    repository_id = commit.repository_id
    if request is not None and not request.from_fork:
        ran = launched.map_push_runs(db, repository_id, commit.id, request.head_branch)
        return {target: f"{n} runs it already, for the push to {request.head_branch}" for target, n in ran.items()}
    if event.kind is EventKind.PUSH and event.branch is not None:
        for_requests = launched.map_pull_request_runs(db, repository_id, commit.id, event.branch)
        return {target: format_duplicate_reason(n, number) for target, (n, number) in for_requests.items()}
    return {}


def format_duplicate_reason(number: str, request: int) -> str:
    """Return why a target that `number` runs need not run again."""
    return f"{number} runs it already, for pull request {request}"


def skip_duplicates(choice: Choice, why: Mapping[Target, str]) -> Choice:
    """Return the choice without the targets in `why`, which are skipped for these reasons."""
    run = tuple(chosen for chosen in choice.run if chosen.target not in why)
    repeated = [(chosen.target.label, why[chosen.target]) for chosen in choice.run if chosen.target in why]
    return replace(choice, run=run, skipped=(*choice.skipped, *repeated))
