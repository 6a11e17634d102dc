"""Webhook deliveries and hook files as they came in: stored first, handled later, kept as the answer to "nothing happens"."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlite_utils import Database

from core import clock
from web.store.db import Row, execute, row, rows

MAX_BACKOFF_S = 600  # a forge that is down for long is asked every ten minutes
REFUSED_KEPT = 100  # of a project, of those that are signed and of others each: anybody can have one refused
REFUSED_PER_MINUTE = 10
PRUNED_AT_ONCE = 50
POLL = "poll"  # the source of those that the server made itself when it asked a remote
# SQLite would take the index of repositories, and read every delivery there ever was
WAITING = "delivery INDEXED BY delivery_stored"
VERIFIED = "(signature = 'valid') = ?"
OF_PROJECT = "repository_id IN (SELECT id FROM repository WHERE project_id = ?)"


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """`state` is stored (waits), done, ignored, failed or refused; `message` says what was done and why not.

    `signature` is valid, missing, wrong or unchecked; anything but valid is refused. A refused one has no body.
    `again_of` is the row of the delivery that this one runs again. Of a `pruned` one neither body nor headers are left.
    """

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
    retry_at: str | None
    signature: str
    again_of: int | None
    pruned: bool


def store(
    db: Database,
    repository_id: int,
    *,
    source: str,
    delivery_id: str,
    event: str,
    headers: Mapping[str, str],
    body: bytes,
    ignored: str | None = None,
) -> tuple[int, bool]:
    """Keep a verified delivery; (its row, whether it is new). The same delivery id of a repository is kept once.

    One that is `ignored` is kept with this reason, and nobody handles it.
    """
    now = clock.now()
    done = ("ignored", ignored[:2000], now) if ignored else ("stored", "", None)
    values = (repository_id, source, delivery_id, event, json.dumps(dict(headers)), body, now, *done)
    sql = (
        "INSERT INTO delivery (repository_id, source, delivery_id, event, headers, body, received_at, state, message,"
        " handled_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (repository_id, delivery_id) DO NOTHING"
    )
    new = execute(db, sql, values) == 1
    found = row(db, "SELECT id FROM delivery WHERE repository_id = ? AND delivery_id = ?", (repository_id, delivery_id))
    return (int(found["id"]) if found else 0), new


def is_known(db: Database, repository_id: int, delivery_id: str) -> bool:
    sql = "SELECT 1 AS found FROM delivery WHERE repository_id = ? AND delivery_id = ?"
    return row(db, sql, (repository_id, delivery_id)) is not None


def waiting(db: Database) -> list[int]:
    """The repositories that have a stored delivery whose time has come, the one that waits longest first.

    One that could not be fetched is left out until its own time has come, however many deliveries have come in since.
    """
    first = (
        f"SELECT id FROM {WAITING} WHERE repository_id = repository.id AND state = 'stored'"
        " AND (retry_at IS NULL OR retry_at <= :now) ORDER BY id LIMIT 1"
    )
    sql = (
        f"SELECT id AS repository_id, CASE WHEN fetch_retry_at IS NULL OR fetch_retry_at <= :now THEN ({first}) END AS first"
        " FROM repository WHERE first IS NOT NULL ORDER BY first"
    )
    return [int(found["repository_id"]) for found in rows(db, sql, {"now": clock.now()})]


def told(db: Database, repository_id: int) -> bool:
    """Whether a webhook or a hook has ever told of this repository, as far back as deliveries are kept."""
    sql = "SELECT 1 FROM delivery WHERE repository_id = ? AND source NOT IN ('poll', 'schedule') AND state != 'refused'"
    return row(db, f"{sql} LIMIT 1", (repository_id,)) is not None


def last_told(db: Database, repository_id: int) -> Delivery | None:
    """The newest delivery that came from elsewhere, refused ones too; without its body."""
    columns = ", ".join(name for name in Delivery.__dataclass_fields__ if name != "body")
    sql = (
        f"SELECT {columns}, x'' AS body FROM delivery WHERE repository_id = ? AND source NOT IN ('poll', 'schedule')"
        " AND source != 'approval' AND again_of IS NULL ORDER BY id DESC LIMIT 1"
    )
    found = row(db, sql, (repository_id,))
    return _delivery(found) if found else None


def refused_since_accepted(db: Database, project_id: int, since: str) -> tuple[int, str]:
    """How many deliveries of a project were refused after `since` and after the last accepted one; why the newest was."""
    accepted = (
        f"SELECT COALESCE(MAX(id), 0) FROM delivery WHERE {OF_PROJECT} AND state != 'refused'"
        " AND source NOT IN ('poll', 'schedule', 'approval')"
    )
    sql = (
        f"SELECT COUNT(*) AS n, MAX(id) AS newest FROM delivery WHERE {OF_PROJECT} AND state = 'refused'"
        f" AND received_at > ? AND id > ({accepted})"
    )
    found = row(db, sql, (project_id, since, project_id))
    if not found or not found["n"]:
        return 0, ""
    said = row(db, "SELECT message FROM delivery WHERE id = ?", (found["newest"],))
    return int(found["n"]), str(said["message"]) if said else ""


def newest_id(db: Database) -> int:
    found = row(db, "SELECT MAX(id) AS id FROM delivery")
    return int(found["id"] or 0) if found else 0


def told_after(db: Database, repository_id: int, after: int) -> Delivery | None:
    """The newest delivery that came from elsewhere, if that was after the row `after`."""
    found = last_told(db, repository_id)
    return found if found and found.id > after else None


def was_any_done(db: Database, repository_id: int) -> bool:
    """Whether a delivery that came from elsewhere was ever of use."""
    sql = (
        "SELECT 1 FROM delivery WHERE repository_id = ? AND source NOT IN ('poll', 'schedule', 'approval')"
        " AND state NOT IN ('ignored', 'refused') LIMIT 1"
    )
    return row(db, sql, (repository_id,)) is not None


def next_stored(db: Database, repository_id: int, after: int) -> Delivery | None:
    """The oldest stored delivery of a repository behind the row `after`, whether its time has come or not.

    One at a time: a body may have megabytes.
    """
    sql = f"SELECT * FROM {WAITING} WHERE state = 'stored' AND repository_id = ? AND id > ? ORDER BY id LIMIT 1"
    found = row(db, sql, (repository_id, after))
    return _delivery(found) if found else None


def get(db: Database, delivery_row: int) -> Delivery | None:
    found = row(db, "SELECT * FROM delivery WHERE id = ?", (delivery_row,))
    return _delivery(found) if found else None


def state(db: Database, delivery_row: int) -> str:
    """Only the state, without the body: cheap enough to ask again and again."""
    found = row(db, "SELECT state FROM delivery WHERE id = ?", (delivery_row,))
    return str(found["state"]) if found else ""


def of_project(db: Database, project_id: int, limit: int = 100, offset: int = 0) -> list[Delivery]:
    """The newest deliveries of a project's repositories, without their bodies, which may have megabytes each."""
    columns = ", ".join(name for name in Delivery.__dataclass_fields__ if name != "body")
    sql = f"SELECT {columns}, x'' AS body FROM delivery WHERE {OF_PROJECT} ORDER BY id DESC LIMIT ? OFFSET ?"
    return [_delivery(found) for found in rows(db, sql, (project_id, limit, offset))]


def count(db: Database, project_id: int) -> int:
    found = row(db, f"SELECT COUNT(*) AS n FROM delivery WHERE {OF_PROJECT}", (project_id,))
    return int(found["n"]) if found else 0


def again(db: Database, delivery_row: int) -> int:
    """A new delivery that runs this one again, or the one that waits to do so; its row. Call inside a transaction."""
    waits = row(db, "SELECT id FROM delivery WHERE state = 'stored' AND again_of = ?", (delivery_row,))
    if waits:
        return int(waits["id"])
    copied = "repository_id, source, event, headers, body, signature"
    sql = (
        f"INSERT INTO delivery ({copied}, delivery_id, received_at, again_of)"
        f" SELECT {copied}, ?, ?, id FROM delivery WHERE id = ?"
    )
    execute(db, sql, (f"again-{uuid.uuid4()}", clock.now(), delivery_row))
    found = row(db, "SELECT MAX(id) AS id FROM delivery WHERE again_of = ?", (delivery_row,))
    return int(found["id"]) if found else 0


def run_again_by(db: Database, delivery_row: int) -> list[int]:
    """The rows of the deliveries that run this one again."""
    return [
        found["id"] for found in rows(db, "SELECT id FROM delivery WHERE again_of = ? ORDER BY id", (delivery_row,))
    ]


def hurry(db: Database, delivery_row: int) -> None:
    """Let one that waits for its next try have it now, and its repository be asked. Call inside a transaction."""
    execute(db, "UPDATE delivery SET retry_at = NULL WHERE id = ? AND state = 'stored'", (delivery_row,))
    of_delivery = "id = (SELECT repository_id FROM delivery WHERE id = ?)"
    execute(db, f"UPDATE repository SET fetch_retry_at = NULL WHERE {of_delivery}", (delivery_row,))


def queued(db: Database, repository_id: int, most: int) -> int:
    """How many stored deliveries of a repository wait; counted up to `most`."""
    some = f"SELECT 1 FROM {WAITING} WHERE state = 'stored' AND repository_id = ? LIMIT ?"
    found = row(db, f"SELECT COUNT(*) AS n FROM ({some})", (repository_id, most))
    return int(found["n"]) if found else 0


def may_refuse(db: Database, project_id: int, *, verified: bool) -> bool:
    """Whether a refused delivery of this project is kept: beyond so many a minute none is, so that a flood writes little.

    Those that are signed count apart: strangers cannot keep them from being seen.
    """
    since = clock.text(datetime.now(UTC) - timedelta(minutes=1))
    sql = f"SELECT COUNT(*) AS n FROM delivery WHERE state = 'refused' AND received_at > ? AND {VERIFIED} AND {OF_PROJECT}"
    found = row(db, sql, (since, verified, project_id))
    return found is not None and found["n"] < REFUSED_PER_MINUTE


def refuse(
    db: Database,
    project_id: int,
    repository_id: int,
    *,
    source: str,
    event: str,
    headers: Mapping[str, str],
    signature: str,
    message: str,
) -> None:
    """Keep what was refused, without its body, under a name of our own: its own may be anybody's. Inside a transaction."""
    at = clock.now()
    values = (
        repository_id,
        source,
        f"refused-{uuid.uuid4()}",
        event,
        json.dumps(dict(headers)),
        at,
        signature,
        message,
    )
    sql = (
        "INSERT INTO delivery (repository_id, source, delivery_id, event, headers, received_at, signature, message, body,"
        " state, handled_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, x'', 'refused', ?)"
    )
    execute(db, sql, (*values, at))
    kept = (
        f"SELECT id FROM delivery WHERE state = 'refused' AND {VERIFIED} AND {OF_PROJECT}"
        " ORDER BY id DESC LIMIT -1 OFFSET ?"
    )
    execute(db, f"DELETE FROM delivery WHERE id IN ({kept})", (signature == "valid", project_id, REFUSED_KEPT))


def finish(db: Database, delivery_row: int, state: str, message: str) -> None:
    sql = "UPDATE delivery SET state = ?, message = ?, handled_at = ? WHERE id = ?"
    execute(db, sql, (state, message[:2000], clock.now(), delivery_row))


def postpone(db: Database, delivery: Delivery, message: str) -> str:
    """Try again later: after 2, 4, 8 … seconds, at most MAX_BACKOFF_S; when."""
    wait = min(2.0 ** (delivery.attempts + 1), MAX_BACKOFF_S)
    retry_at = clock.text(datetime.now(UTC) + timedelta(seconds=wait))
    sql = "UPDATE delivery SET attempts = attempts + 1, message = ?, retry_at = ? WHERE id = ?"
    execute(db, sql, (message[:2000], retry_at, delivery.id))
    return retry_at


def handled_before(db: Database, before: str) -> list[int]:
    """The rows of some that were handled before that time and have not been pruned."""
    old = "SELECT id FROM delivery WHERE pruned = 0 AND handled_at < ? ORDER BY handled_at LIMIT ?"
    return [item["id"] for item in rows(db, old, (before, PRUNED_AT_ONCE))]


def prune(db: Database, found: Sequence[int]) -> None:
    """Drop these deliveries. Call inside a transaction.

    Those that something refers to stay as rows, without what came in; so do those of schedules, whose time has come once.
    """
    marks = ", ".join("?" * len(found))
    unused = (
        "source != 'schedule' AND NOT EXISTS (SELECT 1 FROM push WHERE push.delivery_id = delivery.id)"
        " AND NOT EXISTS (SELECT 1 FROM delivery AS later WHERE later.again_of = delivery.id)"
    )
    execute(db, f"DELETE FROM delivery WHERE id IN ({marks}) AND {unused}", found)
    execute(db, f"UPDATE delivery SET body = x'', headers = '{{}}', pruned = 1 WHERE id IN ({marks})", found)


def _delivery(found: Row) -> Delivery:
    values = {name: found[name] for name in Delivery.__dataclass_fields__}
    parsed = {"headers": json.loads(found["headers"]), "body": bytes(found["body"]), "pruned": bool(found["pruned"])}
    return Delivery(**values | parsed)
