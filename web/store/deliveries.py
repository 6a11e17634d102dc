"""Webhook deliveries and hook files as received: stored first, handled later, and kept for troubleshooting."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import orjson
from sqlite_utils import Database

from core import clock
from web.store.db import (
    Row,
    execute,
    fetch_row,
    fetch_rows,
    insert,
    insert_new,
    make_sql_list,
    needs_transaction,
    transaction,
)

MAX_BACKOFF_S = 600  # a forge that is down for long is retried every ten minutes
FAR_S = 2 * MAX_BACKOFF_S  # a retry further away was stored while the clock was wrong, and is due
REFUSED_KEPT = 100  # per project, for signed and unsigned deliveries each: anyone can cause unsigned ones
REFUSED_PER_MINUTE = 10
PRUNED_AT_ONCE = 50
PRUNING_S = 0.2  # of one sweep
LEAST_S = 3 * 86400.0  # forges may redeliver for this long, and the row identifies the repeat
# SQLite would choose the index on repositories, and read every delivery ever stored
WAITING = "delivery INDEXED BY delivery_stored"
VERIFIED = "(signature = 'valid') = ?"
OF_PROJECT = "repository_id IN (SELECT id FROM repository WHERE project_id = ?)"


class OwnSource(StrEnum):
    """A source of deliveries that the server itself stores; the others are names of forges."""

    POLL = "poll"  # a remote has moved refs
    SCHEDULE = "schedule"
    APPROVAL = "approval"  # to fetch the approved commit


class DeliveryState(StrEnum):
    """State of a delivery; only a stored one is still to be handled."""

    STORED = "stored"
    DONE = "done"
    IGNORED = "ignored"
    FAILED = "failed"
    REFUSED = "refused"


# as in the conditions of indexes, which apply to the same text only
REPORTED = f"source NOT IN {make_sql_list((OwnSource.POLL, OwnSource.SCHEDULE))}"
STORED = f"state = '{DeliveryState.STORED}'"
REFUSED = f"state = '{DeliveryState.REFUSED}'"
ACCEPTED = f"state != '{DeliveryState.REFUSED}'"

FROM_OUTSIDE = f"source NOT IN {make_sql_list(tuple(OwnSource))}"


@dataclass(frozen=True)
class Received:
    """A delivery as it arrives, from outside or from this server."""

    repository_id: int
    source: str
    event: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, kw_only=True)
class Delivery(Received):
    """A stored delivery. `message` describes the result.

    `signature` is valid, missing, wrong or unchecked; all but valid are refused. A refused delivery has no body.
    `again_of` is the row of the delivery that this one re-runs. A `pruned` delivery has neither body nor headers.
    """

    id: int
    delivery_id: str
    received_at: str
    state: DeliveryState
    message: str
    handled_at: str | None
    attempts: int
    retry_at: str | None
    signature: str
    again_of: int | None
    pruned: bool


LISTED = ", ".join("x'' AS body" if name == "body" else name for name in Delivery.__dataclass_fields__)


def store(db: Database, received: Received, delivery_id: str, ignored: str | None = None) -> tuple[int, bool]:
    """Store a verified delivery; return (row id, whether it is new). Idempotent by repository and delivery id.

    An `ignored` delivery is stored with this reason and not handled.
    """
    now, place = clock.now(), (received.repository_id, delivery_id)
    done = (DeliveryState.IGNORED, ignored[:2000], now) if ignored else (DeliveryState.STORED, "", None)
    headers = orjson.dumps(dict(received.headers)).decode()
    values = (*place, received.source, received.event, headers, received.body, now, *done)
    sql = (
        "INSERT INTO delivery (repository_id, delivery_id, source, event, headers, body, received_at, state, message,"
        " handled_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (repository_id, delivery_id) DO NOTHING"
    )
    if new := insert_new(db, sql, values):
        return new, True
    found = fetch_row(db, "SELECT id FROM delivery WHERE repository_id = ? AND delivery_id = ?", place)
    return (int(found["id"]) if found else 0), False


def is_known(db: Database, repository_id: int, delivery_id: str) -> bool:
    sql = "SELECT 1 AS found FROM delivery WHERE repository_id = ? AND delivery_id = ?"
    return fetch_row(db, sql, (repository_id, delivery_id)) is not None


def list_due_repositories(db: Database) -> list[int]:
    """List the repositories with a stored delivery that is due, the longest waiting first.

    A repository that could not be fetched is omitted until its retry time, even if new deliveries arrive.
    """
    first = (
        f"SELECT id FROM {WAITING} WHERE repository_id = repository.id AND {STORED}"
        " AND (retry_at IS NULL OR retry_at NOT BETWEEN :now AND :far) ORDER BY id LIMIT 1"
    )
    sql = (
        f"SELECT id AS repository_id, CASE WHEN fetch_retry_at BETWEEN :now AND :far THEN NULL ELSE ({first}) END AS first"
        " FROM repository WHERE first IS NOT NULL ORDER BY first"
    )
    times = {"now": clock.now(), "far": clock.add_to_now(FAR_S)}
    return [int(found["repository_id"]) for found in fetch_rows(db, sql, times)]


def has_webhooks(db: Database, repository_id: int) -> bool:
    """Return whether a webhook or hook has ever reported this repository, as far back as deliveries are kept."""
    sql = f"SELECT 1 FROM delivery WHERE repository_id = ? AND {REPORTED} AND {ACCEPTED}"
    return fetch_row(db, f"{sql} LIMIT 1", (repository_id,)) is not None


def find_last_webhook(db: Database, repository_id: int) -> Delivery | None:
    """Return the newest delivery from outside the server, including refused ones, without its body."""
    columns = ", ".join(name for name in Delivery.__dataclass_fields__ if name != "body")
    sql = (
        f"SELECT {columns}, x'' AS body FROM delivery WHERE repository_id = ? AND {FROM_OUTSIDE}"
        " AND again_of IS NULL ORDER BY id DESC LIMIT 1"
    )
    found = fetch_row(db, sql, (repository_id,))
    return _delivery(found) if found else None


def summarize_refused(db: Database, project_ids: Sequence[int], since: str) -> dict[int, tuple[int, str]]:
    """Return by project id the number of deliveries refused after `since`, and the message of the newest of them.

    Deliveries refused before the last accepted one do not count; projects without others are omitted.
    """
    accepted = (
        f"SELECT COALESCE(MAX(id), 0) FROM delivery WHERE {OF_PROJECT.replace('?', 'project.id')} AND {ACCEPTED}"
        f" AND {FROM_OUTSIDE}"
    )
    sql = (
        f"SELECT project.id AS project_id, COUNT(*) AS n, MAX(delivery.id), message FROM project"
        f" JOIN repository ON repository.project_id = project.id JOIN delivery ON repository_id = repository.id"
        f" WHERE project.id IN ({', '.join('?' * len(project_ids))}) AND {REFUSED} AND received_at > ?"
        f" AND delivery.id > ({accepted}) GROUP BY project.id"
    )
    return {item["project_id"]: (item["n"], item["message"]) for item in fetch_rows(db, sql, [*project_ids, since])}


def get_newest_id(db: Database) -> int:
    found = fetch_row(db, "SELECT MAX(id) AS id FROM delivery")
    return int(found["id"] or 0) if found else 0


def find_newest_webhook_after(db: Database, repository_id: int, after: int) -> Delivery | None:
    """Return the newest delivery from outside the server after the row `after`, if there is one."""
    found = find_last_webhook(db, repository_id)
    return found if found and found.id > after else None


def has_accepted_any(db: Database, repository_id: int) -> bool:
    """Return whether a delivery from outside the server was ever accepted and not ignored."""
    sql = (
        f"SELECT 1 FROM delivery WHERE repository_id = ? AND {FROM_OUTSIDE}"
        f" AND state NOT IN {make_sql_list((DeliveryState.IGNORED, DeliveryState.REFUSED))} LIMIT 1"
    )
    return fetch_row(db, sql, (repository_id,)) is not None


def find_next_stored(db: Database, repository_id: int, after: int) -> Delivery | None:
    """Return the oldest stored delivery of a repository after the row `after`, whether it is due or not.

    Read one at a time, since a body may have megabytes.
    """
    sql = f"SELECT * FROM {WAITING} WHERE {STORED} AND repository_id = ? AND id > ? ORDER BY id LIMIT 1"
    found = fetch_row(db, sql, (repository_id, after))
    return _delivery(found) if found else None


def get(db: Database, delivery_row: int) -> Delivery | None:
    found = fetch_row(db, "SELECT * FROM delivery WHERE id = ?", (delivery_row,))
    return _delivery(found) if found else None


def find_state(db: Database, delivery_row: int) -> DeliveryState | None:
    """Return the state of a delivery without reading its body; cheap enough for polling."""
    found = fetch_row(db, "SELECT state FROM delivery WHERE id = ?", (delivery_row,))
    return DeliveryState(found["state"]) if found else None


def list_deliveries(db: Database, project_id: int, limit: int = 100, offset: int = 0) -> list[Delivery]:
    """List the newest deliveries of a project, without their bodies, which may have megabytes each."""
    sql = f"SELECT {LISTED} FROM delivery WHERE {OF_PROJECT} ORDER BY id DESC LIMIT ? OFFSET ?"
    return [_delivery(found) for found in fetch_rows(db, sql, (project_id, limit, offset))]


def get_many(db: Database, ids: Sequence[int]) -> list[Delivery]:
    """Return deliveries without their bodies."""
    sql = f"SELECT {LISTED} FROM delivery WHERE id IN ({', '.join('?' * len(ids))})"
    return [_delivery(found) for found in fetch_rows(db, sql, list(ids))]


def count(db: Database, project_id: int) -> int:
    found = fetch_row(db, f"SELECT COUNT(*) AS n FROM delivery WHERE {OF_PROJECT}", (project_id,))
    return int(found["n"]) if found else 0


@needs_transaction
def store_again(db: Database, delivery_row: int) -> int:
    """Create a delivery that re-runs this one, unless one is waiting; return its row."""
    waits = fetch_row(db, f"SELECT id FROM delivery WHERE {STORED} AND again_of = ?", (delivery_row,))
    if waits:
        return int(waits["id"])
    copied = "repository_id, source, event, headers, body, signature"
    sql = (
        f"INSERT INTO delivery ({copied}, delivery_id, received_at, again_of)"
        f" SELECT {copied}, ?, ?, id FROM delivery WHERE id = ?"
    )
    execute(db, sql, (f"again-{uuid.uuid4()}", clock.now(), delivery_row))
    found = fetch_row(db, "SELECT MAX(id) AS id FROM delivery WHERE again_of = ?", (delivery_row,))
    return int(found["id"]) if found else 0


def list_reruns(db: Database, delivery_row: int) -> list[int]:
    """List the rows of the deliveries that re-run this one."""
    return [
        found["id"]
        for found in fetch_rows(db, "SELECT id FROM delivery WHERE again_of = ? ORDER BY id", (delivery_row,))
    ]


@needs_transaction
def retry_now(db: Database, delivery_row: int) -> None:
    """Drop the back-off of a stored delivery and of its repository."""
    execute(db, f"UPDATE delivery SET retry_at = NULL WHERE id = ? AND {STORED}", (delivery_row,))
    of_delivery = "id = (SELECT repository_id FROM delivery WHERE id = ?)"
    execute(db, f"UPDATE repository SET fetch_retry_at = NULL WHERE {of_delivery}", (delivery_row,))


def count_queued(db: Database, repository_id: int, most: int) -> int:
    """Return how many stored deliveries of a repository wait, counted up to `most`."""
    some = f"SELECT 1 FROM {WAITING} WHERE {STORED} AND repository_id = ? LIMIT ?"
    found = fetch_row(db, f"SELECT COUNT(*) AS n FROM ({some})", (repository_id, most))
    return int(found["n"]) if found else 0


def may_store_refusal(db: Database, project_id: int, *, verified: bool) -> bool:
    """Return whether to store a refused delivery: REFUSED_PER_MINUTE per project, so that a flood writes little.

    Signed ones are counted separately, so that strangers cannot hide them.
    """
    since = clock.add_to_now(-60)
    sql = f"SELECT COUNT(*) AS n FROM delivery WHERE {REFUSED} AND received_at > ? AND {VERIFIED} AND {OF_PROJECT}"
    found = fetch_row(db, sql, (since, verified, project_id))
    return found is not None and found["n"] < REFUSED_PER_MINUTE


@needs_transaction
def refuse(db: Database, project_id: int, received: Received, signature: str, message: str) -> None:
    """Store a refused delivery without its body.

    It gets a new delivery id, since anyone may have chosen the one in the request.
    """
    at = clock.now()
    values = {
        "repository_id": received.repository_id,
        "delivery_id": f"refused-{uuid.uuid4()}",
        "source": received.source,
        "event": received.event,
        "headers": json.dumps(dict(received.headers)),
        "body": b"",
        "received_at": at,
        "handled_at": at,
        "state": DeliveryState.REFUSED,
        "signature": signature,
        "message": message,
    }
    insert(db, "delivery", values)
    kept = f"SELECT id FROM delivery WHERE {REFUSED} AND {VERIFIED} AND {OF_PROJECT} ORDER BY id DESC LIMIT -1 OFFSET ?"
    execute(db, f"DELETE FROM delivery WHERE id IN ({kept})", (signature == "valid", project_id, REFUSED_KEPT))


def finish(db: Database, delivery_row: int, state: DeliveryState, message: str) -> None:
    sql = "UPDATE delivery SET state = ?, message = ?, handled_at = ? WHERE id = ?"
    execute(db, sql, (state, message[:2000], clock.now(), delivery_row))


def is_due(delivery: Delivery) -> bool:
    return not clock.is_ahead(delivery.retry_at, FAR_S)


def postpone(db: Database, delivery: Delivery, message: str) -> str:
    """Retry a delivery after 2, 4, 8 … seconds, at most MAX_BACKOFF_S; return the time of the retry.

    An attempt before its time, made because another delivery of the repository was due, changes only the message.
    """
    if delivery.retry_at is not None and not is_due(delivery):
        execute(db, "UPDATE delivery SET message = ? WHERE id = ?", (message[:2000], delivery.id))
        return delivery.retry_at
    wait = min(2.0 ** (delivery.attempts + 1), MAX_BACKOFF_S)
    retry_at = clock.add_to_now(wait)
    sql = "UPDATE delivery SET attempts = attempts + 1, message = ?, retry_at = ? WHERE id = ?"
    execute(db, sql, (message[:2000], retry_at, delivery.id))
    return retry_at


def prune(db: Database, age_s: float) -> None:
    """Prune deliveries that were handled more than `age_s` seconds ago, as many as PRUNING_S allows; 0 keeps all.

    Those that nothing refers to are deleted. Referenced rows stay, without headers and body; so do those of schedules,
    so that none runs twice.
    """
    if age_s == 0:
        return
    before, deadline = clock.add_to_now(-max(age_s, LEAST_S)), time.monotonic() + PRUNING_S
    old = "SELECT id FROM delivery WHERE pruned = 0 AND handled_at < ? ORDER BY handled_at LIMIT ?"
    while time.monotonic() < deadline and (found := [r["id"] for r in fetch_rows(db, old, (before, PRUNED_AT_ONCE))]):
        with transaction(db):
            _prune(db, found)


def _prune(db: Database, found: Sequence[int]) -> None:
    marks = ", ".join("?" * len(found))
    unused = (
        f"source != '{OwnSource.SCHEDULE}' AND NOT EXISTS (SELECT 1 FROM push WHERE push.delivery_id = delivery.id)"
        " AND NOT EXISTS (SELECT 1 FROM delivery AS later WHERE later.again_of = delivery.id)"
    )
    execute(db, f"DELETE FROM delivery WHERE id IN ({marks}) AND {unused}", found)
    execute(db, f"UPDATE delivery SET body = x'', headers = '{{}}', pruned = 1 WHERE id IN ({marks})", found)


def _delivery(found: Row) -> Delivery:
    values = {name: found[name] for name in Delivery.__dataclass_fields__}
    parsed = {
        "headers": json.loads(found["headers"]),
        "body": bytes(found["body"]),
        "state": DeliveryState(found["state"]),
        "pruned": bool(found["pruned"]),
    }
    return Delivery(**values | parsed)
