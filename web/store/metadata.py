"""Metadata rows: one per key of each metadata line, and the latest value of each key for tables that sort.

A key with more values than its share of `[limits] metadata`, or than 100,000, is thinned: only the smallest and the
largest value of each cell of a grid are kept, and cells double each time. A transaction deletes few rows, no peak is
lost, and a chart can read the whole series; of larger series stored by older releases it reads 200 values per stretch.
`latest` counts printed and stored values.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlite_utils import Database

from web.config.metadata import as_number
from web.store.db import Row, execute, needs_transaction, row, rows

KEYS_PER_EXECUTION = 1000  # further keys are not stored
VALUES_PER_EXECUTION = 1_000_000  # the default of [limits] metadata
VALUES_PER_KEY = 100_000  # as many as a chart can read at once
THINNED_AT_ONCE = 2  # keys per transaction: thinning 100,000 rows takes a tenth of a second each
READ_PER_STRETCH = 200  # values, if a key has more than VALUES_PER_KEY
NUMBER_TYPES = frozenset({int, float})  # stored unencoded; bool is not one of them

LATEST = (
    "INSERT INTO latest (execution_id, key_id, seq, time_us, value, number, points, kept) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (execution_id, key_id) DO UPDATE SET seq = excluded.seq, time_us = excluded.time_us,"
    " value = excluded.value, number = excluded.number, points = points + excluded.points, kept = kept + excluded.kept"
)
OF_KEY = "FROM latest WHERE execution_id = ? AND key_id = (SELECT id FROM metadata_key WHERE name = ?)"
NUMBERS = (
    "SELECT seq, time_us, value FROM metadata WHERE execution_id = ? AND key_id = ? AND seq BETWEEN ? AND ?"
    " AND typeof(value) IN ('integer', 'real') ORDER BY seq LIMIT ?"
)


@dataclass(frozen=True, slots=True)
class Point:
    """A value of a key. `value` is a number or any other JSON value."""

    seq: int
    time_us: int
    value: Any


@dataclass(frozen=True, slots=True)
class Counts:
    """How many values of a key were printed, and how many of them are stored."""

    points: int
    kept: int


@needs_transaction
def add(
    db: Database, execution_id: int, lines: Sequence[tuple[int, Mapping[str, Any]]], most: int = VALUES_PER_EXECUTION
) -> None:
    """Store metadata lines, given as (time in microseconds, values) in order.

    Keys with more than their share of the `most` values of an execution are thinned.
    """
    if not lines:
        return
    seq = count(db, execution_id)
    ids = _key_ids(db, execution_id, dict.fromkeys(key for _, values in lines for key in values))
    for key, key_id in ids.items():  # key by key, since the table is clustered by key
        points = [
            (execution_id, key_id, i, time_us, _encode(values[key]))
            for i, (time_us, values) in enumerate(lines, seq)
            if key in values
        ]
        db.conn.executemany("INSERT INTO metadata VALUES (?, ?, ?, ?, ?)", points)
        newest = (*points[-1], as_number(_decode(points[-1][-1])), len(points), len(points))
        execute(db, LATEST, newest)
    execute(db, "UPDATE execution SET metadata_seq = ? WHERE id = ?", (seq + len(lines), execution_id))
    _thin(db, execution_id, most)


def _thin(db: Database, execution_id: int, most: int) -> None:
    """Thin keys that have more than their share.

    The first and the last value stay, and the smallest and the largest of each cell of a grid. A doubled cell covers
    two previous cells, so the density stays even however often a key is thinned.
    """
    found = row(db, "SELECT COUNT(*) AS n FROM latest WHERE execution_id = ?", (execution_id,))
    share = min(VALUES_PER_KEY, most // max(1, found["n"] if found else 0))
    sql = "SELECT key_id FROM latest WHERE execution_id = ? AND kept > ? ORDER BY kept DESC LIMIT ?"
    for item in rows(db, sql, (execution_id, share, THINNED_AT_ONCE)):
        _thin_key(db, execution_id, item["key_id"], share)


def _thin_key(db: Database, execution_id: int, key_id: int, share: int) -> None:
    """Thin a key to at most half of its share."""
    of, values = "FROM metadata WHERE execution_id = ? AND key_id = ?", (execution_id, key_id)
    found = row(db, f"SELECT MIN(seq) AS first, MAX(seq) AS last {of}", values) or {}
    first, last = found["first"], found["last"]
    width = 2 ** ((last - first) // max(1, share // 4 - 2)).bit_length()
    stretch = f"{of} GROUP BY seq / {width}"  # with a single MIN or MAX, SQLite takes bare columns from the same row
    kept = (
        f"SELECT seq FROM (SELECT seq, MIN(value) {stretch}) UNION SELECT seq FROM (SELECT seq, MAX(value) {stretch})"
        " UNION SELECT ? UNION SELECT ?"
    )
    execute(db, f"DELETE {of} AND seq NOT IN ({kept})", (*values, *values, *values, first, last))
    sql = f"UPDATE latest SET kept = (SELECT COUNT(*) {of}) WHERE execution_id = ? AND key_id = ?"
    execute(db, sql, values * 2)


def latest(db: Database, execution_id: int) -> dict[str, Any]:
    """Return the latest value of each key, in the order in which keys were first stored by any execution."""
    return latest_of(db, [execution_id]).get(execution_id, {})


def latest_of(db: Database, execution_ids: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Return the latest value of each key by execution id, for several executions."""
    marks = ", ".join("?" * len(execution_ids))
    sql = (
        "SELECT latest.execution_id, metadata_key.name, latest.value FROM latest"
        " JOIN metadata_key ON metadata_key.id = latest.key_id"
        f" WHERE latest.execution_id IN ({marks}) ORDER BY latest.execution_id, latest.key_id"
    )
    result: dict[int, dict[str, Any]] = {}
    for execution_id, name, value in db.conn.execute(sql, list(execution_ids)):
        result.setdefault(execution_id, {})[name] = _decode(value)
    return result


def latest_of_task(db: Database, task_id: int, names: Collection[str]) -> dict[int, dict[str, Any]]:
    """Return the latest values of these keys by counter of the execution; only the newest execution of each trial."""
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
    """Return the values of a key with a `seq` above `after`, in order."""
    sql = (
        "SELECT seq, time_us, value FROM metadata WHERE execution_id = ?"
        " AND key_id = (SELECT id FROM metadata_key WHERE name = ?) AND seq > ? ORDER BY seq LIMIT ?"
    )
    found = rows(db, sql, (execution_id, key, after, limit))
    return [Point(item["seq"], item["time_us"], _decode(item["value"])) for item in found]


def lines(db: Database, execution_id: int, first: int, many: int) -> list[tuple[int, dict[str, Any]]]:
    """Return metadata lines as printed, (time in microseconds, values), from number `first` on."""
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


def extremes(db: Database, execution_id: int, key: str, points: int) -> tuple[list[Point], Counts]:
    """Return at most `points` numbers of a key in order, and the counts of its values.

    If there are more, return the smallest and the largest of each stretch, so that no spike is lost. If a key has too
    many values to read, only READ_PER_STRETCH values of each stretch are read.
    """
    found = row(db, f"SELECT latest.* {OF_KEY}", (execution_id, key))
    if found is None:
        return [], Counts(0, 0)
    counts, of = Counts(found["points"], found["kept"]), (execution_id, found["key_id"])
    if counts.kept <= points:
        numbers = [Point(**item) for item in rows(db, NUMBERS, (*of, 0, found["seq"], -1))]
        return numbers, counts if counts.kept < counts.points else Counts(len(numbers), len(numbers))
    stretches = points // 2 - 1
    first = (row(db, "SELECT MIN(seq) AS seq FROM metadata WHERE execution_id = ? AND key_id = ?", of) or found)["seq"]
    width = (found["seq"] - first) // stretches + 1
    if counts.kept <= stretches * READ_PER_STRETCH:
        read = [(first, found["seq"], -1)]
    else:
        starts = range(first, found["seq"] + 1, width)
        read = [(start, start + width - 1, READ_PER_STRETCH) for start in starts] + [(found["seq"], found["seq"], 1)]
    found_numbers = (item for part in read for item in rows(db, NUMBERS, (*of, *part)))
    return _extremes(found_numbers, first, width), counts


def _extremes(numbers: Iterable[Row], first: int, width: int) -> list[Point]:
    """Return the smallest and the largest of each stretch, and the last, in order."""
    low: dict[int, Row] = {}
    high: dict[int, Row] = {}
    last: Row = {}
    for item in numbers:
        number, last = (item["seq"] - first) // width, item
        if number not in low or item["value"] < low[number]["value"]:
            low[number] = item
        if number not in high or item["value"] > high[number]["value"]:
            high[number] = item
    chosen = {item["seq"]: item for item in (*low.values(), *high.values(), *([last] if last else []))}
    return [Point(**chosen[seq]) for seq in sorted(chosen)]


def values_at(db: Database, execution_id: int, key: str, seqs: Sequence[int]) -> dict[int, Any]:
    """Return the values of a key on the metadata lines `seqs`; for a thinned key, the last one at or before each."""
    found = row(db, f"SELECT key_id, points > kept AS thinned {OF_KEY}", (execution_id, key))
    if found is None:
        return {}
    at = "seq <= asked.value ORDER BY seq DESC LIMIT 1" if found["thinned"] else "seq = asked.value"
    sql = (
        f"SELECT asked.value AS seq, (SELECT value FROM metadata WHERE execution_id = ? AND key_id = ? AND {at}) AS value"
        " FROM json_each(?) AS asked"
    )
    values = (execution_id, found["key_id"], orjson.dumps(list(seqs)).decode())
    return {item["seq"]: _decode(item["value"]) for item in rows(db, sql, values) if item["value"] is not None}


def since(db: Database, execution_id: int, first: int, many: int) -> dict[str, list[Point]]:
    """Return the values on at most `many` metadata lines from number `first` on, by key."""
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
    """Return how many metadata lines an execution has printed."""
    found = row(db, "SELECT metadata_seq FROM execution WHERE id = ?", (execution_id,))
    return int(found["metadata_seq"]) if found else 0


def thinned(db: Database, execution_id: int) -> bool:
    """Return whether some values of an execution were dropped because there were too many."""
    return row(db, "SELECT 1 FROM latest WHERE execution_id = ? AND points > kept LIMIT 1", (execution_id,)) is not None


def _key_ids(db: Database, execution_id: int, names: Collection[str]) -> dict[str, int]:
    """Return the ids of key names, creating new ones; names beyond KEYS_PER_EXECUTION are omitted."""
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
    return value if type(value) in NUMBER_TYPES else orjson.dumps(value).decode()


def _decode(value: Any) -> Any:
    return orjson.loads(value) if isinstance(value, str) else value
