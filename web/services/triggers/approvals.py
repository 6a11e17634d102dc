"""Approve commits of forks: untrusted code, which gets the project's secrets once it is approved.

An approval is a stored delivery of source `approval`, which fetches the commit into the mirror and then launches. This
provides retries, back-off and a page with the reason.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from core import git
from core.errors import Conflict, InvalidDelivery
from core.model import Origin, Project, PushEvent, Target, User
from web.services.context import Context
from web.services.launch import LaunchRequest
from web.services.repositories import commit_head, hosting
from web.services.repositories.commit_head import Head
from web.services.triggers import planning, record
from web.services.triggers.planning import EventSource, Plan
from web.store import approvals, audit, commits, deliveries, launched, outbox, projects, pushes, users
from web.store.approvals import WaitingPush
from web.store.audit import Act, Actor, Kind
from web.store.db import Database, transaction
from web.store.deliveries import DeliveryState, OwnSource, Received
from web.store.launched import Launched
from web.store.pushes import Push

SHOWN = 10  # waiting commits on the overview


@dataclass(frozen=True, kw_only=True)
class Overview:
    """Number of waiting commits of a project, and the first of them."""

    count: int
    first: list[WaitingPush]


@dataclass(frozen=True, kw_only=True)
class WaitingPlan:
    """The plan of a waiting push."""

    project: Project
    event: PushEvent
    head: Head
    plan: Plan


def get_overview(db: Database, project: Project) -> Overview:
    return Overview(
        count=approvals.count_by_project(db).get(project.id, 0),
        first=approvals.list_waiting(db, project.id, limit=SHOWN),
    )


@dataclass(frozen=True, kw_only=True)
class Approved:
    """Content of an approval's delivery: a commit and the user who approved it."""

    sha: str
    username: str

    @property
    def name(self) -> str:
        return f"{OwnSource.APPROVAL}-{self.sha}"


def approve(context: Context, project: Project, sha: str, person: User) -> list[Launched]:
    """Approve commit `sha` and launch each of its waiting pushes once. Nudge and dispatch after it.

    If the commit must be fetched first, nothing is launched here: a stored delivery does both. Approving an approved
    commit is not an error. Raises Conflict if nothing of it waits, or no longer waits.
    """
    waiting = approvals.list_waiting(context.db, project.id, sha)
    if not waiting:
        _check_approved(context.db, project, sha)
    approved = Approved(sha=sha, username=person.username)
    missing = {item.push.repository_id for item in waiting if not _is_here(context, item)}
    if not missing:
        return launch(context, project, approved)
    with transaction(context.db):
        for item in waiting:
            _approve(context.db, project, item, person)
        for repository_id in missing:
            _store(context.db, repository_id, approved)
    return []


def parse_approved(body: bytes) -> Approved:
    """Parse the body of an approval's delivery. Raises InvalidDelivery."""
    try:
        return Approved(**json.loads(body))
    except (ValueError, TypeError) as error:
        raise InvalidDelivery(f"not a delivery of an approval: {error}") from None


def fetch_urls_of_waiting(db: Database, project: Project, repository_id: int, sha: str) -> list[str]:
    """Return the URLs to fetch a waiting commit from: a fork's URL, or "" for the repository itself."""
    waiting = approvals.list_waiting(db, project.id, sha)
    return [item.pull_request.fetch_url for item in waiting if item.push.repository_id == repository_id]


def _is_here(context: Context, item: WaitingPush) -> bool:
    repository = projects.get_repository(context.db, item.push.repository_id)
    return git.resolve(hosting.get_repository_path(context.config, repository), item.push.after) is not None


def _store(db: Database, repository_id: int, approved: Approved) -> None:
    """Store a delivery that fetches the commit. If it exists, drop its back-off, or redeliver it if handled."""
    body = json.dumps(asdict(approved)).encode()
    row, is_new = deliveries.store(
        db, Received(repository_id, OwnSource.APPROVAL, OwnSource.APPROVAL, body=body), approved.name
    )
    if not is_new:
        deliveries.retry_now(
            db, row if deliveries.find_state(db, row) is DeliveryState.STORED else deliveries.store_again(db, row)
        )


def launch(context: Context, project: Project, approved: Approved) -> list[Launched]:
    """Launch each waiting push of an approved commit once. The commit must be in the mirror. Raises Conflict."""
    sha, person = approved.sha, users.find_by_name(context.db, approved.username)
    if person is None:
        raise Conflict(f"user {approved.username!r} no longer exists")
    chosen = {
        item.push.id: _chosen(context, project, item) for item in approvals.list_waiting(context.db, project.id, sha)
    }
    made: list[Launched] = []
    ran: dict[Target, str] = {}
    here = audit.get_actor()
    who = here if here.username else Actor(way=here.way, username=person.username)  # the worker acts for the person
    with transaction(context.db), audit.acting(who):
        for item in approvals.list_waiting(context.db, project.id, sha):
            if item.push.id in chosen:
                _approve(context.db, project, item, person)
                _run(context, item, chosen[item.push.id], ran, person)
                new = launched.list_for_push(context.db, item.push.id)
                made += new
                ran |= {
                    one.target: planning.format_duplicate_reason(one.number, item.pull_request.number) for one in new
                }
                outbox.enqueue(context.db, item.push.repository_id, outbox.OutboxKind.STATUS, sha)
    return made


def _approve(db: Database, project: Project, item: WaitingPush, person: User) -> None:
    if approvals.add(db, item.push.repository_id, item.push.after, person.id):
        detail = f"pull request {item.pull_request.number}"
        audit.record(db, Act.APPROVE, Kind.COMMIT, item.push.after, project.id, detail)


def _check_approved(db: Database, project: Project, sha: str) -> None:
    if not any(approvals.find(db, repository.id, sha) for repository in projects.list_repositories(db, project.id)):
        raise Conflict(
            f"commit {sha[:80]!r} does not wait for approval: its pull request has a newer commit, was closed or does not exist"
        )


def _chosen(context: Context, project: Project, item: WaitingPush) -> WaitingPlan:
    """Return the plan of a waiting push, with the rules as they are now."""
    repository = projects.get_repository(context.db, item.push.repository_id)
    delivery = deliveries.get(context.db, item.push.delivery_id or 0)
    assert delivery is not None  # noqa: S101  (deliveries alone make pushes)
    path = hosting.get_repository_path(context.config, repository)
    source = EventSource(
        project=project,
        repository=repository,
        path=path,
        delivery=delivery,
        budget=commit_head.ReadBudget(context.config.limits),
        pull_request=item.pull_request,
        base_branch=item.pull_request.base_branch,
    )
    event, head = _event(item.push), commit_head.read_head(context.db, project, path, item.push.after, source.budget)
    plan = planning.plan(context.db, source, event, head)
    return WaitingPlan(project=project, event=event, head=head, plan=plan)


def _run(context: Context, item: WaitingPush, chosen: WaitingPlan, ran: Mapping[Target, str], person: User) -> None:
    """Launch what does not run yet; `ran` contains the reasons why other targets are not launched again."""
    db, push, wanted = context.db, item.push, chosen.plan.choice
    planned = replace(chosen.plan, choice=planning.skip_duplicates(wanted, ran))
    older = planning.list_superseded(db, push.repository_id, chosen.event, wanted, push.again_of or push.id)
    commit = commits.get_by_identifier(db, chosen.project.id, push.after)
    outcome = record.make_outcome(chosen.event, chosen.head, planned)
    pushes.finish_push(db, push.id, replace(outcome, commit_id=commit.id))
    common = LaunchRequest(origin=Origin.PUSH, project=chosen.project, commit=commit, creator=person, push_id=push.id)
    record.launch_all(context, common, planned.choice.run, older)


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
