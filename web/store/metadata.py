"""Metadata rows: one per key of each metadata line, and the latest value of each key for tables that sort."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlite_utils import Database

from core.metadata import number
from web.store.db import execute, row, rows

KEYS_PER_EXECUTION = 1000  # further keys are not kept
NUMBERS = frozenset({int, float})  # stored as they are; bool is not among them


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
    ids = _key_ids(db, execution_id, dict.fromkeys(key for _, values in lines for key in values))
    stored = 0
    for key, key_id in ids.items():  # one key after the other: the table is clustered by key
        points = [
            (execution_id, key_id, i, time_us, _encode(values[key]))
            for i, (time_us, values) in enumerate(lines, seq)
            if key in values
        ]
        db.conn.executemany("INSERT INTO metadata VALUES (?, ?, ?, ?, ?)", points)
        newest = (*points[-1], number(_decode(points[-1][-1])))
        execute(db, "INSERT OR REPLACE INTO latest VALUES (?, ?, ?, ?, ?, ?)", newest)
        stored += len(points)
    execute(db, "UPDATE execution SET metadata_seq = ? WHERE id = ?", (seq + len(lines), execution_id))
    return stored


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


def latest_of_task(db: Database, task_id: int, names: Collection[str]) -> dict[int, dict[str, Any]]:
    """The latest values of these keys by the number of the execution, the newest of each place of the search alone."""
    newest = "SELECT MAX(id) AS id, counter FROM execution WHERE task_id = ? GROUP BY trial"
    sql = (
        f"SELECT newest.counter, metadata_key.name, latest.value FROM ({newest}) AS newest"
        " CROSS JOIN metadata_key CROSS JOIN latest ON latest.execution_id = newest.id AND latest.key_id = metadata_key.id"
        f" WHERE metadata_key.name IN ({', '.join('?' * len(names))}) ORDER BY newest.id"
    )
    result: dict[int, dict[str, Any]] = {}
    for found in rows(db, sql, [task_id, *names]):
        result.setdefault(found["counter"], {})[found["name"]] = _decode(found["value"])
    return result


def series(db: Database, execution_id: int, key: str, after: int = -1, limit: int = 100_000) -> list[Point]:
    """The values of one key with a `seq` above `after`, in order."""
    sql = (
        "SELECT seq, time_us, value FROM metadata WHERE execution_id = ?"
        " AND key_id = (SELECT id FROM metadata_key WHERE name = ?) AND seq > ? ORDER BY seq LIMIT ?"
    )
    found = rows(db, sql, (execution_id, key, after, limit))
    return [Point(item["seq"], item["time_us"], _decode(item["value"])) for item in found]


def lines(db: Database, execution_id: int, first: int, many: int) -> list[tuple[int, dict[str, Any]]]:
    """Metadata lines as they were printed, (time in microseconds, values), from number `first` on."""
    sql = (
        "SELECT metadata.seq, metadata.time_us, metadata_key.name, metadata.value FROM metadata"
        " JOIN metadata_key ON metadata_key.id = metadata.key_id WHERE metadata.execution_id = ?"
        " AND metadata.key_id IN (SELECT key_id FROM latest WHERE execution_id = ?)"
        " AND metadata.seq >= ? AND metadata.seq < ? ORDER BY metadata.seq, metadata.key_id"
    )
    result: dict[int, tuple[int, dict[str, Any]]] = {}
    for found in rows(db, sql, (execution_id, execution_id, first, first + many)):
        _, values = result.setdefault(found["seq"], (found["time_us"], {}))
        values[found["name"]] = _decode(found["value"])
    return list(result.values())


def extremes(db: Database, execution_id: int, key: str, points: int) -> tuple[list[Point], int]:
    """At most `points` numbers of a key in order, and how many it has.

    All of them if they are so few, else the smallest and the largest of each stretch: no spike is lost.
    """
    found = row(db, "SELECT id FROM metadata_key WHERE name = ?", (key,))
    key_id = found["id"] if found else None
    where = "FROM metadata WHERE execution_id = ? AND key_id = ? AND typeof(value) IN ('integer', 'real')"
    found = row(db, f"SELECT COUNT(*) AS n, MIN(seq) AS first, MAX(seq) AS last {where}", (execution_id, key_id))
    if found is None or not found["n"]:
        return [], 0
    if found["n"] <= points:
        sql, values = f"SELECT seq, time_us, value {where} ORDER BY seq", [execution_id, key_id]
    else:
        # beside a lone MIN or MAX, SQLite takes the bare columns from the row that has it
        width = (found["last"] - found["first"]) // (points // 2 - 1) + 1
        stretch = f"{where} GROUP BY (seq - ?) / ?"
        sql = (
            f"SELECT seq, time_us, MIN(value) AS value {stretch} UNION SELECT seq, time_us, MAX(value) AS value {stretch}"
            f" UNION SELECT seq, time_us, value {where} AND seq = ? ORDER BY seq"
        )
        per_stretch = [execution_id, key_id, found["first"], width]
        values = [*per_stretch, *per_stretch, execution_id, key_id, found["last"]]
    return [Point(**item) for item in rows(db, sql, values)], int(found["n"])


def values_at(db: Database, execution_id: int, key: str, seqs: Sequence[int]) -> dict[int, Any]:
    """The values of a key on the metadata lines `seqs`, where it has one."""
    sql = (
        "SELECT seq, value FROM metadata WHERE execution_id = ?"
        f" AND key_id = (SELECT id FROM metadata_key WHERE name = ?) AND seq IN ({', '.join('?' * len(seqs))})"
    )
    return {found["seq"]: _decode(found["value"]) for found in rows(db, sql, [execution_id, key, *seqs])}


def since(db: Database, execution_id: int, first: int, many: int) -> dict[str, list[Point]]:
    """The values on the metadata lines from number `first` on, at most `many` lines, by key."""
    sql = (
        "SELECT metadata_key.name, metadata.seq, metadata.time_us, metadata.value FROM metadata"
        " JOIN metadata_key ON metadata_key.id = metadata.key_id WHERE metadata.execution_id = ?"
        " AND metadata.key_id IN (SELECT key_id FROM latest WHERE execution_id = ?)"
        " AND metadata.seq >= ? AND metadata.seq < ? ORDER BY metadata.seq"
    )
    result: dict[str, list[Point]] = {}
    for found in rows(db, sql, (execution_id, execution_id, first, first + many)):
        point = Point(found["seq"], found["time_us"], _decode(found["value"]))
        result.setdefault(found["name"], []).append(point)
    return result


def count(db: Database, execution_id: int) -> int:
    """How many metadata lines an execution has printed."""
    found = row(db, "SELECT metadata_seq FROM execution WHERE id = ?", (execution_id,))
    return int(found["metadata_seq"]) if found else 0


def _key_ids(db: Database, execution_id: int, names: Collection[str]) -> dict[str, int]:
    """The ids of these key names, new ones made; those left out that the execution may not have any more."""
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
    return {name: ids[name] for name in names if name in ids}


def _encode(value: Any) -> Any:
    return value if type(value) in NUMBERS else orjson.dumps(value).decode()


def _decode(value: Any) -> Any:
    return orjson.loads(value) if isinstance(value, str) else value
