"""Rules with a schedule: each planned time becomes exactly one stored delivery, despite crashes and second workers.

Each sweep stores the latest planned time of each rule as a delivery named by rule and time, unless that delivery
exists or the rules are newer than the time. No clock is kept, any number of processes may do this, and a long
downtime causes one run.
"""

from __future__ import annotations

import functools
import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from core import clock
from core.errors import InvalidDelivery, InvalidInput, NotFound
from core.model import EventKind, Project, PushEvent
from web.services.repositories import hosting
from web.services.triggers import rules
from web.services.triggers.rules import Rule, cron
from web.store import deliveries, projects
from web.store.db import Database
from web.store.deliveries import OwnSource, Received


@dataclass(frozen=True, kw_only=True)
class Due:
    """Content of a schedule's delivery. `branch` is "" for the default branch."""

    rule: str
    planned_at: str
    branch: str

    @property
    def name(self) -> str:
        return f"{OwnSource.SCHEDULE}-{self.rule}-{self.planned_at}"


def store_due(db: Database, now: datetime | None = None) -> None:
    """Store a delivery for the latest planned time of each schedule, unless it exists or the rules are newer.

    Of the times that passed during a downtime, only the latest counts.
    """
    now = now or datetime.now(UTC)
    for project in projects.list_with_schedules(db):
        for rule in list_scheduled_rules(project.rules):
            planned_at = clock.format_moment(cron.compute_latest_time(rule.schedule, rule.timezone, now))
            if planned_at > (project.rules_changed_at or ""):
                _store(db, project, Due(rule=rule.name, planned_at=planned_at, branch=rule.branch))


def parse_due(body: bytes) -> Due:
    """Parse the body of a schedule's delivery. Raises InvalidDelivery."""
    try:
        return Due(**json.loads(body))
    except (ValueError, TypeError) as error:
        raise InvalidDelivery(f"not a delivery of a schedule: {error}") from None


def explain_overtaken(project: Project, due: Due) -> str:
    """Return why a due time must no longer run; "" if it must. This happens if a remote was unavailable for days."""
    rule = next((rule for rule in list_scheduled_rules(project.rules) if rule.name == due.rule), None)
    if rule is None:
        return f"rule {due.rule} no longer exists or has no schedule"
    latest = clock.format_moment(cron.compute_latest_time(rule.schedule, rule.timezone, datetime.now(UTC)))
    return f"its next time, {latest}, is due as well" if latest > due.planned_at else ""


def make_event(due: Due, branch: str, sha: str) -> PushEvent:
    """Return the event that runs a branch's head at a planned time."""
    return PushEvent(
        kind=EventKind.SCHEDULE,
        ref=f"refs/heads/{branch}",
        before=sha,
        after=sha,
        pusher=f"{OwnSource.SCHEDULE} {due.rule}",
        identity=f"{OwnSource.SCHEDULE} {due.rule} {due.planned_at}",
    )


@functools.lru_cache(maxsize=256)
def list_scheduled_rules(text: str) -> tuple[Rule, ...]:
    """Return the rules that have a schedule; none if the rules are invalid, which each push reports."""
    try:
        return tuple(rule for rule in rules.parse(text) if rule.schedule)
    except InvalidInput:
        return ()


def _store(db: Database, project: Project, due: Due) -> None:
    try:
        repository = hosting.get_repository(db, project)
    except NotFound:
        return
    if not deliveries.is_known(db, repository.id, due.name):  # called every two seconds, written once
        body = json.dumps(asdict(due)).encode()
        deliveries.store(db, Received(repository.id, OwnSource.SCHEDULE, OwnSource.SCHEDULE, body=body), due.name)
