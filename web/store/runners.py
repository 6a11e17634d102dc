"""Registered runners."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson
from sqlite_utils import Database

from core import clock
from core.model import Runner
from core.states import OCCUPYING, State
from web.store.db import Row, execute, fetch_row, fetch_rows, make_sql_list, transaction
from web.store.executions import IS_UNFINISHED
from web.store.users import hash_secret


def add(db: Database, name: str, token: str, environments: Sequence[str], redis_sha256: str | None = None) -> int:
    """Create a runner; return its id. An existing one of that name, even if removed, is updated and keeps its id."""
    sql = (
        "INSERT INTO runner (uuid, name, environments, token_sha256, token_last8, redis_sha256, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET environments = excluded.environments,"
        " token_sha256 = excluded.token_sha256, token_last8 = excluded.token_last8, redis_sha256 = excluded.redis_sha256,"
        " draining = CASE WHEN removed_at IS NULL THEN draining ELSE 0 END,"
        " last_seen_at = CASE WHEN removed_at IS NULL THEN last_seen_at END, removed_at = NULL"
    )
    secrets = (hash_secret(token), token[-8:], redis_sha256)
    execute(db, sql, (str(uuid.uuid4()), name, json.dumps(list(environments)), *secrets, clock.now()))
    found = fetch_row(db, "SELECT id FROM runner WHERE name = ?", (name,))
    return int(found["id"]) if found else 0


def set_token(db: Database, runner_id: int, token: str, redis_sha256: str | None = None) -> None:
    """Replace a runner's token and Redis password; the old ones stop working."""
    sql = "UPDATE runner SET token_sha256 = ?, token_last8 = ?, redis_sha256 = ? WHERE id = ?"
    execute(db, sql, (hash_secret(token), token[-8:], redis_sha256, runner_id))


def set_limits(db: Database, runner_id: int, most_slots: int, projects: Sequence[str]) -> None:
    """Set how many slots a runner may report, and the projects whose executions it gets; no projects mean all."""
    sql = "UPDATE runner SET most_slots = ?, slots = min(slots, ?), projects = ? WHERE id = ?"
    execute(db, sql, (most_slots, most_slots, json.dumps(list(projects)), runner_id))


def set_draining(db: Database, runner_id: int, draining: bool) -> None:
    execute(db, "UPDATE runner SET draining = ? WHERE id = ?", (draining, runner_id))


def remove(db: Database, runner_id: int) -> None:
    """Mark a runner as removed: it can no longer log in, but executions still refer to it."""
    execute(db, "UPDATE runner SET removed_at = ? WHERE id = ?", (clock.now(), runner_id))


def map_redis_users(db: Database) -> dict[str, str | None]:
    """Map the name of each runner with a Redis user to its password hash, or None for removed runners."""
    found = fetch_rows(db, "SELECT name, redis_sha256, removed_at FROM runner WHERE redis_sha256 IS NOT NULL")
    return {item["name"]: None if item["removed_at"] else item["redis_sha256"] for item in found}


def find_by_name(db: Database, name: str) -> Runner | None:
    return _runner(fetch_row(db, "SELECT * FROM runner WHERE name = ? AND removed_at IS NULL", (name,)))


def find_by_token(db: Database, token: str) -> Runner | None:
    sql = "SELECT * FROM runner WHERE token_sha256 = ? AND removed_at IS NULL"
    return _runner(fetch_row(db, sql, (hash_secret(token),)))


def get(db: Database, runner_id: int) -> Runner | None:
    """Return a runner, even if it is removed."""
    return _runner(fetch_row(db, "SELECT * FROM runner WHERE id = ?", (runner_id,)))


def list_runners(db: Database) -> list[Runner]:
    """List runners that are not removed, by name."""
    found = fetch_rows(db, "SELECT * FROM runner WHERE removed_at IS NULL ORDER BY name")
    return [runner for item in found if (runner := _runner(item))]


def list_seen_within(db: Database, seconds: float) -> frozenset[int]:
    """Return the ids of the runners that have reported within that time."""
    sql = "SELECT id FROM runner WHERE removed_at IS NULL AND last_seen_at > ?"
    return frozenset(found["id"] for found in fetch_rows(db, sql, (clock.add_to_now(-seconds),)))


def count(db: Database) -> int:
    (number,) = db.conn.execute("SELECT COUNT(*) FROM runner WHERE removed_at IS NULL").fetchone()
    return int(number)


def holds_executions(db: Database, runner_id: int) -> bool:
    """Return whether a runner holds a started execution: each heartbeat asks."""
    sql = (
        f"SELECT EXISTS (SELECT 1 FROM execution WHERE {IS_UNFINISHED} AND state = '{State.STARTED}' AND runner_id = ?)"
    )
    (held,) = db.conn.execute(sql, (runner_id,)).fetchone()
    return bool(held)


def record_heartbeat(db: Database, runner_id: int, slots: int, info: Mapping[str, Any]) -> None:
    sql = "UPDATE runner SET last_seen_at = ?, slots = ?, info = ? WHERE id = ?"
    execute(db, sql, (clock.now(), slots, orjson.dumps(dict(info)).decode(), runner_id))


class Seen(NamedTuple):
    """A report that differs from the runner's row only in passing figures; `before` is the row's `last_seen_at`."""

    runner_id: int
    before: str
    at: str
    info: Mapping[str, Any]


def record_seen(db: Database, reports: Iterable[Seen]) -> None:
    """Write reports in one transaction, except for runners whose row says by now that they were seen at another time."""
    sql = "UPDATE runner SET last_seen_at = ?, info = ? WHERE id = ? AND last_seen_at = ?"
    with transaction(db):
        for runner_id, before, at, info in reports:
            execute(db, sql, (at, orjson.dumps(dict(info)).decode(), runner_id, before))


@dataclass(frozen=True, slots=True)
class Load:
    """Unfinished executions placed on a runner: those without GPUs, and the total devices of the others."""

    slots: int
    devices: int


NO_LOAD = Load(0, 0)


def presume_silent(db: Database, runner_id: int, silence_s: float) -> None:
    """Make a runner count as silent for that long, until its next report."""
    at = clock.add_to_now(-silence_s)
    execute(db, "UPDATE runner SET last_seen_at = min(last_seen_at, ?) WHERE id = ?", (at, runner_id))


def map_load(db: Database) -> dict[int, Load]:
    """Return the load by runner id; idle runners are omitted."""
    sql = (
        "SELECT runner_id, SUM(gpus = 0) AS slots, SUM(gpus) AS devices FROM execution"
        f" WHERE {IS_UNFINISHED} AND state IN {make_sql_list(OCCUPYING)} AND runner_id IS NOT NULL GROUP BY runner_id"
    )
    return {found["runner_id"]: Load(found["slots"], found["devices"]) for found in fetch_rows(db, sql)}


def _runner(found: Row | None) -> Runner | None:
    if found is None:
        return None
    return Runner(
        id=found["id"],
        uuid=found["uuid"],
        name=found["name"],
        environments=tuple(orjson.loads(found["environments"])),
        slots=found["slots"],
        most_slots=found["most_slots"],
        projects=tuple(orjson.loads(found["projects"])),
        draining=bool(found["draining"]),
        last_seen_at=found["last_seen_at"],
        info=orjson.loads(found["info"]),
    )
