"""The reply to a push that our own hook reports, which git shows behind `remote:`."""

from __future__ import annotations

from collections.abc import Iterator

from core.model import TargetKind
from core.text import make_printable
from hooks.forges.registry import PLAIN
from web.services.presentation import verdict
from web.store import commits, deliveries, launched, pushes
from web.store.db import Database
from web.store.deliveries import Delivery, DeliveryState
from web.store.pushes import Push

MAX_LINES = 40
PAGES = {TargetKind.STEP: "executions", TargetKind.TASK: "tasks", TargetKind.PIPELINE: "pipelines"}


def format_reply(db: Database, delivery_row: int, pages: str) -> str:
    """Return links to the commits of a delivery and, once it is handled, its runs and skipped targets with reasons.

    `pages` is the URL of the project's page.
    """
    delivery = deliveries.get(db, delivery_row)
    if delivery is None:
        lines = [f"{pages}/"]
    elif delivery.state is not DeliveryState.STORED:
        reported = pushes.list_for_delivery(db, delivery_row)
        lines = [line for push in reported for line in _handled(db, push, pages)] or [f"{delivery.message} {pages}/"]
    else:
        lines = [*_waiting(delivery, pages), delivery.message or "received; that page will show what it runs"]
    shown = lines[:MAX_LINES] + ([f"and {len(lines) - MAX_LINES} more lines: {pages}/"] if lines[MAX_LINES:] else [])
    return "\n".join(make_printable(line)[:500] for line in shown)


def _waiting(delivery: Delivery, pages: str) -> Iterator[str]:
    events = PLAIN.parse(delivery.headers, delivery.body)
    for event in events if isinstance(events, list) else ():
        if (branch := event.branch) is not None and not event.deleted:
            yield f"{branch}: {pages}/commits/{event.after}/"


def _handled(db: Database, push: Push, pages: str) -> Iterator[str]:
    name = push.name
    if push.commit_id is None:
        yield f"{name}: {push.outcome}"
        return
    commit = commits.get(db, push.commit_id)
    yield f"{name}: {pages}/commits/{commit.identifier}/"
    begun = launched.list_for_push(db, push.id)
    for one in begun:
        yield f"  {one.target.label} {one.number}: {pages}/{PAGES[one.target.kind]}/{one.counter}/"
    if not begun:
        yield f"  {verdict.judge_push(push, commit, (), waits=True).text}"
        yield from (f"  {problem}" for problem in commit.problems[1:] if commit.config_state == "broken")
    for label, reason in push.skipped if begun else push.skipped[verdict.NAMED :]:
        yield f"  skipped {label}: {reason}"
