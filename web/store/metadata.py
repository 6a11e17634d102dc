"""Metadata rows: one per key of each metadata line, and the latest value of each key for tables that sort."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlite_utils import Database

from core.metadata import number
from web.store.db import execute, row, rows

KEYS_PER_EXECUTION = 1000  # further keys are not kept


@dataclass(frozen=True, slots=True)
class Point:
    """One value of a key. `value` is a number or any other JSON value."""

    seq: int
    time_us: int
    value: Any


def add(db: Database, execution_id: int, lines: Sequence[tuple[int, Mapping[str, Any]]]) -> int:
    """Store metadata lines, (time, values) in order; how many rows that made. Call inside a transaction."""
    if not lines:
        return 0
    found = row(db, "SELECT metadata_seq FROM execution WHERE id = ?", (execution_id,))
    seq = int(found["metadata_seq"]) if found else 0
    ids = _key_ids(db, execution_id, {key for _, values in lines for key in values})
    points: list[tuple[Any, ...]] = []
    newest: dict[str, tuple[Any, ...]] = {}
    for i, (time_us, values) in enumerate(lines):
        for key, value in values.items():
            if key in ids:
                points.append((execution_id, ids[key], seq + i, time_us, _encode(value)))
                newest[key] = (*points[-1], number(value))
    db.conn.executemany("INSERT INTO metadata VALUES (?, ?, ?, ?, ?)", points)
    db.conn.executemany("INSERT OR REPLACE INTO latest VALUES (?, ?, ?, ?, ?, ?)", newest.values())
    execute(db, "UPDATE execution SET metadata_seq = ? WHERE id = ?", (seq + len(lines), execution_id))
    return len(points)


def latest(db: Database, execution_id: int) -> dict[str, Any]:
    """The latest value of each key, keys in the order they were first seen anywhere."""
    return latest_of(db, [execution_id]).get(execution_id, {})


def latest_of(db: Database, execution_ids: Sequence[int]) -> dict[int, dict[str, Any]]:
    """The same for several executions at once."""
    marks = ", ".join("?" * len(execution_ids))
    sql = (
        "SELECT latest.execution_id, metadata_key.name, latest.value FROM latest"
        " JOIN metadata_key ON metadata_key.id = latest.key_id"
        f" WHERE latest.execution_id IN ({marks}) ORDER BY latest.execution_id, latest.key_id"
    )
    result: dict[int, dict[str, Any]] = {}
    for found in rows(db, sql, list(execution_ids)):
        result.setdefault(found["execution_id"], {})[found["name"]] = _decode(found["value"])
    return result


def series(db: Database, execution_id: int, key: str, after: int = -1, limit: int = 100_000) -> list[Point]:
    """The values of one key with a `seq` above `after`, in order."""
    sql = (
        "SELECT seq, time_us, value FROM metadata WHERE execution_id = ?"
        " AND key_id = (SELECT id FROM metadata_key WHERE name = ?) AND seq > ? ORDER BY seq LIMIT ?"
    )
    found = rows(db, sql, (execution_id, key, after, limit))
    return [Point(item["seq"], item["time_us"], _decode(item["value"])) for item in found]


def count(db: Database, execution_id: int) -> int:
    """How many metadata lines an execution has printed."""
    found = row(db, "SELECT metadata_seq FROM execution WHERE id = ?", (execution_id,))
    return int(found["metadata_seq"]) if found else 0


def _key_ids(db: Database, execution_id: int, names: Iterable[str]) -> dict[str, int]:
    """The ids of key names, new ones made, as far as the execution may have further keys."""
    sql = (
        "SELECT metadata_key.name, metadata_key.id FROM latest JOIN metadata_key ON metadata_key.id = latest.key_id"
        " WHERE latest.execution_id = ?"
    )
    ids = {found["name"]: int(found["id"]) for found in rows(db, sql, (execution_id,))}
    for name in names:
        if name not in ids and len(ids) < KEYS_PER_EXECUTION:
            execute(db, "INSERT INTO metadata_key (name) VALUES (?) ON CONFLICT (name) DO NOTHING", (name,))
            found = row(db, "SELECT id FROM metadata_key WHERE name = ?", (name,))
            ids[name] = int(found["id"]) if found else 0
    return ids


def _encode(value: Any) -> Any:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else json.dumps(value)


def _decode(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value
