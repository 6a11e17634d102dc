"""Decide whether an event is new, known or late; here alone.

An event is known if its identity is, or if it ends where the last push of its ref ended: a push in between may not
have been reported. It is also known if it is older than a push that polling found, which reports all ref updates since.

An event is late if the last push of its ref left the ref where it is now, and the event neither begins nor ends there.
This happens when someone redelivers on the forge, and when deliveries overtake each other. A late push runs once like
any other, but badges and polling do not treat it as the newest.

A known event that a person redelivers is recorded as a push of its own that refers to the first one
(`push.again_of`). Its identity is derived from its delivery, so it also runs once. The order of the first pushes
decides which push of a ref is the newest.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from core import git
from core.model import EventKind, PullRequest, PushEvent
from web.services.repositories.commit_head import ReadBudget
from web.services.triggers.planning import Basis
from web.store import commits, projects
from web.store.db import Database
from web.store.deliveries import POLL, Delivery

KNOWN = "was recorded before"
LATE = "a newer push of this branch runs already"
LOOKED_BACK = 20  # pushes of a ref that are searched for a newer one


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


def arrival(db: Database, source: EventSource, event: PushEvent) -> Arrival:
    """Compare an event, which ends at a commit, with the recorded pushes. Holds until another push is recorded."""
    repository_id, late = source.repository.id, source.late
    first = commits.find_push(db, repository_id, event.identity)
    if event.kind is EventKind.PUSH and (last := commits.last_push(db, repository_id, event.ref)):
        left, ends = last.push.after, event.after
        is_poll = source.delivery.source == POLL and not source.again  # it tells where refs are now
        if not (late or is_poll) and left not in (event.before, ends):
            late = left == (git.resolve(source.path, event.ref) or "0" * len(left))
            if late and last.source == POLL and not source.again:
                return Arrival(identity=event.identity, known=True)
        if first is None and left == ends and last.push.delivery_id is not None:  # else its delivery may be on the way
            first = last.push
    if first is None:
        return Arrival(identity=event.identity, late=late)
    identity = f"again {source.delivery.id} {event.identity}"
    known = (
        not source.again
        or first.delivery_id == source.delivery.id
        or commits.find_push(db, repository_id, identity) is not None
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
    recorded = commits.pushes_of_ref(db, source.repository.id, event.kind, event.ref, LOOKED_BACK)
    others = {push.after for push in recorded if push.after != event.after and not push.deleted}
    return any(git.is_ancestor(source.path, event.after, other) for other in others)
