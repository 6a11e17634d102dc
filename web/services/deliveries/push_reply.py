"""The reply to a push, which git shows behind `remote:`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from core.model import PullRequestEvent, PushEvent, TargetKind
from core.text import printable
from hooks.forges.events import Ignored
from web.store import commits, deliveries, launched
from web.store.commits import Push
from web.store.db import Database
from web.store.deliveries import DeliveryState

MAX_LINES = 40
PAGES = {TargetKind.STEP: "executions", TargetKind.TASK: "tasks", TargetKind.PIPELINE: "pipelines"}


def push_reply(
    db: Database, delivery_row: int, events: Sequence[PushEvent] | PullRequestEvent | Ignored, pages: str
) -> str:
    """Return links to the commits of a delivery and, once it is handled, its runs and skipped targets with reasons.

    `pages` is the URL of the project's page.
    """
    delivery = deliveries.get(db, delivery_row)
    if isinstance(events, PullRequestEvent | Ignored) or delivery is None:
        lines = [f"{pages}/"]
    elif delivery.state is not DeliveryState.STORED:
        pushes = commits.pushes_of_delivery(db, delivery_row)
        lines = [line for push in pushes for line in _handled(db, push, pages)] or [f"{delivery.message} {pages}/"]
    else:
        lines = [
            *_waiting(events, pages),
            delivery.message or "received; that page will show what it runs",
        ]
    shown = lines[:MAX_LINES] + ([f"and {len(lines) - MAX_LINES} lines more: {pages}/"] if lines[MAX_LINES:] else [])
    return "\n".join(printable(line)[:500] for line in shown)


def _waiting(events: Sequence[PushEvent], pages: str) -> Iterator[str]:
    for event in events:
        if (branch := event.branch) is not None and not event.deleted:
            yield f"{branch}: {pages}/commits/{event.after}/"


def _handled(db: Database, push: Push, pages: str) -> Iterator[str]:
    name = push.name
    if push.commit_id is None:
        yield f"{name}: {push.outcome}"
        return
    yield f"{name}: {pages}/commits/{commits.get(db, push.commit_id).identifier}/"
    begun = launched.launched_by_push(db, push.id)
    for one in begun:
        yield f"  {one.target.label} {one.number}: {pages}/{PAGES[one.target.kind]}/{one.counter}/"
    if not begun:
        yield f"  {push.outcome}"
    for label, reason in push.skipped:
        yield f"  skipped {label}: {reason}"
