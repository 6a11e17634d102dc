"""Deliveries of a project with their pushes, and pushes that no delivery reported, as one list."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlite_utils import Database

from core.states import State
from web.store import deliveries, pushes
from web.store.db import fetch_row, fetch_rows, make_sql_list
from web.store.deliveries import OF_PROJECT, STORED, Delivery, DeliveryState
from web.store.pushes import Push, PushResult
from web.store.selection import make_project_condition

SEARCHED = 1000  # newest deliveries, and as many other pushes, among which failed and ignored ones are searched
SCANNED = 20_000  # newest deliveries, and pushes, of all projects that are searched for those of the wanted projects
RECENT = 200  # newest deliveries, and pushes, of the wanted projects that are searched for problems
PUSHES = 5  # most pushes of one delivery that are listed
RUN_OF = "SELECT 1 FROM {} WHERE push_id = push.id"
RAN = " OR ".join(f"EXISTS ({RUN_OF.format(table)})" for table in ("execution", "task", "pipeline"))
RUN_FAILED = " OR ".join(
    f"EXISTS ({RUN_OF.format(table)} AND state = '{State.ERROR}')" for table in ("execution", "task", "pipeline")
)
BAD_PUSH = f"(push.result != '{PushResult.WAITING}' AND NOT ({RAN}) OR {RUN_FAILED})"
RETRIED = f"{STORED} AND attempts > 0"
BAD_DELIVERY = (
    f"(state IN {make_sql_list((DeliveryState.IGNORED, DeliveryState.FAILED, DeliveryState.REFUSED))} OR {RETRIED}"
    f" OR EXISTS (SELECT 1 FROM push WHERE push.delivery_id = delivery.id AND {BAD_PUSH}))"
)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A delivery with its first PUSHES pushes, of `count`; or one push without a delivery."""

    delivery: Delivery | None
    pushes: Sequence[Push]
    count: int


def list_entries(db: Database, project_id: int, limit: int, offset: int) -> list[Entry]:
    """List the newest entries of a project."""
    sql = f"{_union('1', '1', offset + limit)} ORDER BY at DESC, id DESC LIMIT ? OFFSET ?"
    found = fetch_rows(db, sql, (project_id, project_id, limit, offset))
    return _entries(db, [(item["kind"], item["id"]) for item in found])


def count(db: Database, project_id: int) -> int:
    found = fetch_row(db, f"SELECT COUNT(*) AS n FROM push WHERE delivery_id IS NULL AND {OF_PROJECT}", (project_id,))
    return deliveries.count(db, project_id) + (int(found["n"]) if found else 0)


def list_failed_and_ignored(db: Database, project_id: int, limit: int, offset: int) -> tuple[list[Entry], int]:
    """Return a page of the failed and ignored entries among the newest SEARCHED, and the number of all of them."""
    sql = f"{_union(BAD_DELIVERY, BAD_PUSH, SEARCHED)} ORDER BY at DESC, id DESC"
    found = [(item["kind"], item["id"]) for item in fetch_rows(db, sql, (project_id, project_id))]
    return _entries(db, found[offset : offset + limit]), len(found)


def list_recent_problems(db: Database, projects: Collection[int] | None, since: str, limit: int) -> list[Entry]:
    """List, newest first, deliveries after `since` that failed, and pushes that ran nothing or whose runs failed.

    Pushes with a newer push to their ref, deleted refs, and rejected deliveries, which strangers can cause, are left
    out. Only the newest RECENT pushes and deliveries are searched.
    """
    condition, values = make_project_condition("project_id", projects)
    # the + keeps SQLite from sorting every row of these repositories
    newest = (
        f"+repository_id IN (SELECT id FROM repository WHERE {condition})"
        " AND id > (SELECT COALESCE(MAX(id), 0) - {1} FROM {0}) ORDER BY id DESC LIMIT {2}"
    )
    of_deliveries, of_pushes = (newest.format(table, SCANNED, RECENT) for table in ("delivery", "push"))
    later = "SELECT 1 FROM push AS later WHERE later.repository_id = push.repository_id AND later.ref = push.ref"
    sql = (
        "SELECT 'delivery' AS kind, id, received_at AS at FROM delivery"
        f" WHERE id IN (SELECT id FROM delivery WHERE {of_deliveries})"
        f" AND received_at > ? AND (state = '{DeliveryState.FAILED}' OR {RETRIED})"
        f" UNION ALL SELECT 'push' AS kind, id, created_at AS at FROM push WHERE id IN (SELECT id FROM push WHERE {of_pushes})"
        f" AND created_at > ? AND commit_id IS NOT NULL AND {BAD_PUSH} AND NOT EXISTS ({later} AND later.id > push.id)"
        " ORDER BY at DESC, id DESC LIMIT ?"
    )
    found = fetch_rows(db, sql, (*values, since, *values, since, limit))
    return _entries(db, [(item["kind"], item["id"]) for item in found])


def _union(of_deliveries: str, of_pushes: str, newest: int) -> str:
    """Return SQL for (kind, id, at) of the newest deliveries and other pushes that meet conditions.

    Both are limited before they are sorted, by the order in which they were stored.
    """
    of_repository = f"SELECT id FROM delivery WHERE repository_id = repository.id ORDER BY id DESC LIMIT {newest:d}"
    within = f"SELECT delivery.id FROM repository CROSS JOIN delivery ON delivery.id IN ({of_repository})"
    alone = f"SELECT id FROM push WHERE delivery_id IS NULL AND {OF_PROJECT} ORDER BY id DESC LIMIT {newest:d}"
    return (
        f"SELECT 'delivery' AS kind, id, received_at AS at FROM delivery"
        f" WHERE id IN ({within} WHERE project_id = ? ORDER BY delivery.id DESC LIMIT {newest:d}) AND {of_deliveries}"
        f" UNION ALL SELECT 'push' AS kind, id, created_at AS at FROM push"
        f" WHERE id IN ({alone}) AND {of_pushes}"
    )


def _entries(db: Database, found: Sequence[tuple[str, int]]) -> list[Entry]:
    of = {
        delivery.id: delivery
        for delivery in deliveries.get_many(db, [row_id for kind, row_id in found if kind == "delivery"])
    }
    alone = [row_id for kind, row_id in found if kind == "push"]
    numbered = (
        "SELECT id, ROW_NUMBER() OVER (PARTITION BY delivery_id ORDER BY id) AS place FROM push"
        f" WHERE delivery_id IN ({_marks(of)})"
    )
    sql = (
        f"SELECT * FROM push WHERE id IN (SELECT id FROM push WHERE id IN ({_marks(alone)})"
        f" UNION ALL SELECT id FROM ({numbered}) WHERE place <= {PUSHES}) ORDER BY id"
    )
    recorded = pushes.select(db, sql, [*alone, *of])
    sql = f"SELECT delivery_id, COUNT(*) AS n FROM push WHERE delivery_id IN ({_marks(of)}) GROUP BY delivery_id"
    counts = {item["delivery_id"]: item["n"] for item in fetch_rows(db, sql, list(of))}
    by_delivery: dict[int, list[Push]] = {}
    for push in recorded:
        by_delivery.setdefault(push.delivery_id or 0, []).append(push)
    single = {push.id: push for push in recorded}
    return [
        Entry(delivery=of[row_id], pushes=by_delivery.get(row_id, ()), count=counts.get(row_id, 0))
        if kind == "delivery"
        else Entry(delivery=None, pushes=[single[row_id]], count=1)
        for kind, row_id in found
    ]


def _marks(values: Sequence[int] | dict[int, Delivery]) -> str:
    return ", ".join("?" * len(values))
