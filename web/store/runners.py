"""Registered runners."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlite_utils import Database

from core import clock
from core.model import Runner
from web.store.db import Row, execute, insert, row, rows
from web.store.users import fingerprint


def add(db: Database, name: str, token: str, environments: Sequence[str]) -> int:
    values = {"uuid": str(uuid.uuid4()), "name": name, "environments": json.dumps(list(environments))}
    secrets = {"token_sha256": fingerprint(token), "token_last8": token[-8:]}
    return insert(db, "runner", values | secrets | {"created_at": clock.now()})


def set_token(db: Database, runner_id: int, token: str) -> None:
    """Give a runner a new token; the old one is dead."""
    sql = "UPDATE runner SET token_sha256 = ?, token_last8 = ? WHERE id = ?"
    execute(db, sql, (fingerprint(token), token[-8:], runner_id))


def by_name(db: Database, name: str) -> Runner | None:
    return _runner(row(db, "SELECT * FROM runner WHERE name = ?", (name,)))


def by_token(db: Database, token: str) -> Runner | None:
    return _runner(row(db, "SELECT * FROM runner WHERE token_sha256 = ?", (fingerprint(token),)))


def get(db: Database, runner_id: int) -> Runner | None:
    return _runner(row(db, "SELECT * FROM runner WHERE id = ?", (runner_id,)))


def listing(db: Database) -> list[Runner]:
    return [runner for found in rows(db, "SELECT * FROM runner ORDER BY name") if (runner := _runner(found))]


def count(db: Database) -> int:
    found = row(db, "SELECT COUNT(*) AS n FROM runner WHERE removed_at IS NULL")
    return int(found["n"]) if found else 0


def seen(db: Database, runner_id: int, slots: int, info: Mapping[str, Any]) -> None:
    sql = "UPDATE runner SET last_seen_at = ?, slots = ?, info = ? WHERE id = ?"
    execute(db, sql, (clock.now(), slots, json.dumps(dict(info)), runner_id))


@dataclass(frozen=True, slots=True)
class Load:
    """What a runner has been given and has not finished: executions without a GPU, and devices of the others."""

    slots: int
    devices: int


NO_LOAD = Load(0, 0)


def presume_silent(db: Database, runner_id: int, silence_s: float) -> None:
    """Have a runner count as not heard for so long; its next word ends that."""
    at = clock.text(datetime.now(UTC) - timedelta(seconds=silence_s))
    execute(db, "UPDATE runner SET last_seen_at = min(last_seen_at, ?) WHERE id = ?", (at, runner_id))


def load(db: Database) -> dict[int, Load]:
    """By runner id; a runner without any is not in it."""
    sql = (
        "SELECT runner_id, SUM(gpus = 0) AS slots, SUM(gpus) AS devices FROM execution"
        " WHERE state IN ('queued', 'started') AND runner_id IS NOT NULL GROUP BY runner_id"
    )
    return {found["runner_id"]: Load(found["slots"], found["devices"]) for found in rows(db, sql)}


def _runner(found: Row | None) -> Runner | None:
    if found is None:
        return None
    names = ("id", "uuid", "name", "slots", "last_seen_at")
    environments = tuple(json.loads(found["environments"]))
    draining, info = bool(found["draining"]), json.loads(found["info"])
    return Runner(**{n: found[n] for n in names}, environments=environments, draining=draining, info=info)
