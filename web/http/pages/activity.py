"""The page Activity: pushes and webhooks that a project received, each with its verdict. It says why nothing ran."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flask import Blueprint, render_template, request

from core.model import Commit
from web.http import auth, changes
from web.http.pages.addresses import get_base_url
from web.http.pages.paging import ListPage, query
from web.services.presentation import troubles, verdict, verdicts
from web.services.presentation.verdict import Verdict
from web.store import activity, commits, projects
from web.store.activity import Entry
from web.store.db import Database
from web.store.deliveries import Delivery
from web.store.pushes import Push

blueprint = Blueprint("activity", __name__)

PER_PAGE = 50
PROBLEMS = "problems"  # value of ?show=


@dataclass(frozen=True, kw_only=True)
class ActivityLine:
    """A verdict, and the push that it is on, if any."""

    verdict: Verdict
    push: Push | None = None
    commit: Commit | None = None


@dataclass(frozen=True, kw_only=True)
class Item:
    """An entry of the list; `more` pushes are not listed."""

    at: str
    delivery: Delivery | None
    lines: Sequence[ActivityLine]
    more: int


@blueprint.get("/p/<name>/activity/")
@auth.read
@changes.shows(changes.PUSHES, changes.RUNS)
def listing(name: str) -> str:
    db = auth.get_db()
    project = projects.get_by_name(db, name)
    page, only_problems = ListPage.requested(PER_PAGE), request.args.get("show") == PROBLEMS
    if only_problems:
        found, total = activity.list_failed_and_ignored(db, project.id, page.size, page.offset)
    else:
        found, total = activity.list_entries(db, project.id, page.size, page.offset), activity.count(db, project.id)
    items = _items(db, found)
    return render_template(
        "activity.html",
        project=project,
        items=items,
        page=page.with_total(total),
        filters=[
            ("All", query(show=None) or "?", not only_problems),
            ("Failed and ignored", query(show=PROBLEMS), only_problems),
        ],
        looked_at=activity.SEARCHED if only_problems and activity.count(db, project.id) > activity.SEARCHED else 0,
        base_url=get_base_url(),
        hosted=projects.is_hosted(db, project.id),
        troubles=troubles.list_troubles(db, [project]),
    )


def _items(db: Database, found: Sequence[Entry]) -> list[Item]:
    pushes = [push for entry in found for push in entry.pushes]
    of = commits.get_many(db, {push.commit_id for push in pushes if push.commit_id is not None})
    sentences = verdicts.map_by_push(db, pushes, of)
    items = []
    for entry in found:
        lines = [
            ActivityLine(verdict=sentences[push.id], push=push, commit=of.get(push.commit_id or 0))
            for push in entry.pushes
        ]
        if entry.delivery is not None and not lines:
            lines = [ActivityLine(verdict=verdict.judge_delivery(entry.delivery))]
        at = entry.delivery.received_at if entry.delivery else entry.pushes[0].created_at
        items.append(Item(at=at, delivery=entry.delivery, lines=lines, more=entry.count - len(entry.pushes)))
    return items
