"""Letting a commit of a fork run: it is a stranger's code, and from then on it gets the project's secrets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from sqlite_utils import Database

from core.config import Config
from core.errors import Conflict
from core.model import Project, PushEvent, Target, User
from web.services import heads, hosting, planning, repeats, trigger
from web.services.heads import Head
from web.services.planning import Plan
from web.services.trigger import Source
from web.store import approvals, commits, deliveries, launched, outbox, projects
from web.store.approvals import Waiting
from web.store.commits import Push
from web.store.db import transaction
from web.store.launched import Launched

SHOWN = 10  # of the commits that wait


@dataclass(frozen=True, kw_only=True)
class Overview:
    """How many commits of a project wait, and the first of them."""

    count: int
    first: list[Waiting]


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """What a push that waits makes run."""

    event: PushEvent
    head: Head
    plan: Plan


def overview(db: Database, project: Project) -> Overview:
    return Overview(count=approvals.count(db, project.id), first=approvals.waiting(db, project.id, limit=SHOWN))


def approve(db: Database, config: Config, project: Project, sha: str, person: User) -> list[Launched]:
    """Let commit `sha` run and launch what waits of it, each once. Nudge and dispatch after it.

    It is no error when somebody was faster. Raises Conflict when nothing of it waits, or not any more.
    """
    waiting = approvals.waiting(db, project.id, sha)
    if not waiting:
        _check_approved(db, project, sha)
    chosen = {item.push.id: _chosen(db, config, project, item) for item in waiting}
    made: list[Launched] = []
    ran: dict[Target, str] = {}
    with transaction(db):
        for item in approvals.waiting(db, project.id, sha):
            if item.push.id in chosen:
                approvals.add(db, item.push.repository_id, sha, person.id)
                _run(db, config, project, item, chosen[item.push.id], ran, person)
                new = launched.of_push(db, item.push.id)
                made += new
                ran |= {one.target: repeats.for_pull_request(one.number, item.pull_request.number) for one in new}
                outbox.mark(db, item.push.repository_id, outbox.Kind.STATUS, sha)
    return made


def _check_approved(db: Database, project: Project, sha: str) -> None:
    if not any(approvals.find(db, repository.id, sha) for repository in projects.repositories(db, project.id)):
        raise Conflict(
            f"nothing of commit {sha[:80]!r} waits for approval: its pull request has moved on or was closed, or there is none"
        )


def _chosen(db: Database, config: Config, project: Project, item: Waiting) -> Chosen:
    """As the rules are now."""
    repository = projects.repository(db, item.push.repository_id)
    delivery = deliveries.get(db, item.push.delivery_id or 0)
    assert delivery is not None  # noqa: S101  (deliveries alone make pushes)
    path = hosting.repository_path(config, repository)
    source = Source(
        project=project, repository=repository, path=path, delivery=delivery, pull_request=item.pull_request
    )
    event, head = _event(item.push), heads.read(db, project, path, item.push.after)
    return Chosen(event=event, head=head, plan=trigger.plan(db, source, event, head))


def _run(
    db: Database,
    config: Config,
    project: Project,
    item: Waiting,
    chosen: Chosen,
    ran: Mapping[Target, str],
    person: User,
) -> None:
    """Launch what does not run yet; `ran` says of what does why it is not launched again."""
    push = item.push
    choice = repeats.less(chosen.plan.choice, ran)
    outcome = trigger.outcome_of(chosen.event, chosen.head, replace(chosen.plan, choice=choice))
    older = planning.superseded(db, push.repository_id, chosen.event, chosen.plan.choice, push.again_of or push.id)
    commit = commits.by_identifier(db, project.id, push.after)
    trigger.run(db, config, project, commit, choice, person, push_id=push.id, outcome=outcome, instead_of=older)


def _event(push: Push) -> PushEvent:
    return PushEvent(
        kind=push.kind,
        ref=push.ref,
        before=push.before,
        after=push.after,
        pusher=push.pusher,
        message=push.message,
        options=push.options,
    )
