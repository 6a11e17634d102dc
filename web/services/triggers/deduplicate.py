"""Launch one set of runs for two events: a push to a branch and a pull request from it end at the same commit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from core.model import Commit, EventKind, PullRequest, PushEvent, Target
from web.services.triggers.rules import Choice
from web.store import repeats
from web.store.db import Database


def duplicate_reasons(db: Database, commit: Commit, event: PushEvent, request: PullRequest | None) -> dict[Target, str]:
    """Return by target why it need not run for this event: it already runs for the other kind on the same branch."""
    repository_id = commit.repository_id
    if request is not None and not request.from_fork:
        ran = repeats.by_pushes(db, repository_id, commit.id, request.head_branch)
        return {target: f"{n} runs it already, for the push to {request.head_branch}" for target, n in ran.items()}
    if event.kind is EventKind.PUSH and event.branch is not None:
        for_requests = repeats.by_pull_requests(db, repository_id, commit.id, event.branch)
        return {target: duplicates_of_pull_request(n, number) for target, (n, number) in for_requests.items()}
    return {}


def duplicates_of_pull_request(number: str, request: int) -> str:
    """Return why a target that `number` runs need not run again."""
    return f"{number} runs it already, for pull request {request}"


def without_duplicates(choice: Choice, why: Mapping[Target, str]) -> Choice:
    """Return the choice without the targets in `why`, which are skipped for these reasons."""
    run = tuple(chosen for chosen in choice.run if chosen.target not in why)
    repeated = [(chosen.target.label, why[chosen.target]) for chosen in choice.run if chosen.target in why]
    return replace(choice, run=run, skipped=(*choice.skipped, *repeated))
