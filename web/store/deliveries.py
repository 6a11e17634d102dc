"""Webhook deliveries and hook files as they came in: stored first, handled later, kept as the answer to "nothing happens"."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlite_utils import Database

from core import clock
from web.store.db import Row, execute, row, rows

MAX_BACKOFF_S = 600  # a forge that is down for long is asked every ten minutes


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """`state` is stored (waits), done, ignored or failed; `message` says what was done and why not."""

    id: int
    repository_id: int
    source: str
    delivery_id: str
    event: str
    headers: Mapping[str, str]
    body: bytes
    received_at: str
    state: str
    message: str
    handled_at: str | None
    attempts: int


def store(
    db: Database,
    repository_id: int,
    *,
    source: str,
    delivery_id: str,
    event: str,
    headers: Mapping[str, str],
    body: bytes,
) -> tuple[int, bool]:
    """Keep a verified delivery; (its row, whether it is new). The same delivery id of a repository is kept once."""
    values = (repository_id, source, delivery_id, event, json.dumps(dict(headers)), body, clock.now())
    sql = (
        "INSERT INTO delivery (repository_id, source, delivery_id, event, headers, body, received_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (repository_id, delivery_id) DO NOTHING"
    )
    new = execute(db, sql, values) == 1
    found = row(db, "SELECT id FROM delivery WHERE repository_id = ? AND delivery_id = ?", (repository_id, delivery_id))
    return (int(found["id"]) if found else 0), new


def waiting(db: Database) -> list[int]:
    """The repositories that have a stored delivery whose time has come, the one that waits longest first."""
    sql = (
        "SELECT repository_id FROM delivery WHERE state = 'stored' AND (retry_at IS NULL OR retry_at <= ?)"
        " GROUP BY repository_id ORDER BY MIN(id)"
    )
    return [int(found["repository_id"]) for found in rows(db, sql, (clock.now(),))]


def next_stored(db: Database, repository_id: int, after: int) -> Delivery | None:
    """The oldest stored delivery of a repository behind the row `after`, whether its time has come or not.

    One at a time: a body may have megabytes.
    """
    sql = "SELECT * FROM delivery WHERE state = 'stored' AND repository_id = ? AND id > ? ORDER BY id LIMIT 1"
    found = row(db, sql, (repository_id, after))
    return _delivery(found) if found else None


def get(db: Database, delivery_row: int) -> Delivery | None:
    found = row(db, "SELECT * FROM delivery WHERE id = ?", (delivery_row,))
    return _delivery(found) if found else None


def state(db: Database, delivery_row: int) -> str:
    """Only the state, without the body: cheap enough to ask again and again."""
    found = row(db, "SELECT state FROM delivery WHERE id = ?", (delivery_row,))
    return str(found["state"]) if found else ""


def of_project(db: Database, project_id: int, limit: int = 100) -> list[Delivery]:
    """The newest deliveries of a project's repositories, without their bodies, which may have megabytes each."""
    columns = ", ".join(f"delivery.{name}" for name in Delivery.__dataclass_fields__ if name != "body")
    sql = (
        f"SELECT {columns}, x'' AS body FROM delivery JOIN repository ON repository.id = delivery.repository_id"
        " WHERE repository.project_id = ? ORDER BY delivery.id DESC LIMIT ?"
    )
    return [_delivery(found) for found in rows(db, sql, (project_id, limit))]


def finish(db: Database, delivery_row: int, state: str, message: str) -> None:
    sql = "UPDATE delivery SET state = ?, message = ?, handled_at = ? WHERE id = ?"
    execute(db, sql, (state, message[:2000], clock.now(), delivery_row))


def postpone(db: Database, delivery: Delivery, message: str) -> None:
    """Try again later: after 2, 4, 8 … seconds, at most MAX_BACKOFF_S."""
    wait = min(2.0 ** (delivery.attempts + 1), MAX_BACKOFF_S)
    retry_at = clock.text(datetime.now(UTC) + timedelta(seconds=wait))
    sql = "UPDATE delivery SET attempts = attempts + 1, message = ?, retry_at = ? WHERE id = ?"
    execute(db, sql, (message[:2000], retry_at, delivery.id))


def _delivery(found: Row) -> Delivery:
    values = {name: found[name] for name in Delivery.__dataclass_fields__}
    return Delivery(**values | {"headers": json.loads(found["headers"]), "body": bytes(found["body"])})
