"""Metadata: the values of each key of an execution in chunks; the latest, lowest and highest one for tables that sort.

New values are appended to the last chunk of their key while it is small, so that little is written twice; small chunks
are merged once they fill one. Rows of older releases, one for each value, are moved into chunks by the sweep, the last
of a key first: its rows always come before its chunks.

Keys with more values than their share of `[limits] metadata` are thinned: only the smallest and the largest value of
each cell of a grid are kept, and cells double each time. A transaction thins a bounded number of values, and no peak is
lost. `latest` counts printed and stored values.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, groupby
from operator import itemgetter
from typing import Any

import orjson
from sqlite_utils import Database

from web.config.metadata import to_number
from web.store.db import execute, fetch_row, fetch_rows, needs_transaction
from web.store.metadata_chunks import (
    EXTREMES,
    FULL,
    STRETCH,
    TEXT_WEIGHT,
    MetadataChunk,
    Point,
    Values,
    compute_extent,
    merge,
    pack,
    pack_extremes,
    reduce,
    thin,
    to_columns,
)

KEYS_PER_EXECUTION = 1000  # further keys are not stored
VALUES_PER_EXECUTION = 1_000_000  # the default of [limits] metadata
SMALL = 64  # weight of a chunk to which values are appended; smaller ones fit into a page with others
MERGED_AT_ONCE = FULL // SMALL  # chunks
THINNED_AT_ONCE = 50_000  # values in one transaction, a twentieth of a second, or twice as many as it adds
LINES = 2**62  # more than any execution prints
MOVED_AT_ONCE = 10_000  # weight of moved rows in one transaction, a fortieth of a second
NUMBER_TYPES = frozenset({int, float})  # stored unencoded; bool is not one of them

LATEST = (
    "INSERT INTO latest (execution_id, key_id, seq, time_us, value, number, points, kept) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (execution_id, key_id) DO UPDATE SET seq = excluded.seq, time_us = excluded.time_us,"
    " value = excluded.value, number = excluded.number, points = points + excluded.points, kept = kept + excluded.kept"
)
EXTENT = (  # a statement of its own, since most values are within: what is set is written to the indexes, even if equal
    "UPDATE latest SET low = MIN(COALESCE(low, ?3), ?3), high = MAX(COALESCE(high, ?4), ?4)"
    " WHERE execution_id = ?1 AND key_id = ?2 AND (low IS NULL OR low > ?3 OR high < ?4)"
)
OF_KEY = "FROM latest WHERE execution_id = ? AND key_id = (SELECT id FROM metadata_key WHERE name = ?)"
OF = "FROM metadata_chunk WHERE execution_id = ? AND key_id = ?"
COLUMNS = ", ".join(MetadataChunk._fields)
INSERT = (
    f"INSERT INTO metadata_chunk (execution_id, key_id, weight, width, extremes, {COLUMNS})"
    f" VALUES (?, ?, ?, ?, ?, {', '.join('?' * len(MetadataChunk._fields))})"
)
CHUNKS = f"""
    WITH asked AS (
        SELECT execution_id, key_id, name FROM latest JOIN metadata_key ON metadata_key.id = latest.key_id
        WHERE execution_id = :execution AND (:name IS NULL OR name = :name)
    )
    SELECT key_id, name, {COLUMNS} FROM asked CROSS JOIN metadata_chunk USING (execution_id, key_id)
    WHERE seq < :end AND last >= :first AND seq >= COALESCE((
        SELECT MAX(seq) FROM metadata_chunk AS before
        WHERE before.execution_id = asked.execution_id AND before.key_id = asked.key_id AND before.seq <= :first
    ), 0)
    UNION ALL
    SELECT key_id, name, seq, time_us, value, NULL, NULL, NULL, NULL, NULL, NULL
    FROM asked CROSS JOIN metadata USING (execution_id, key_id) WHERE seq >= :first AND seq < :end
"""  # one statement, since rows may be moved between two
WITHOUT_TIMES = CHUNKS.replace(", times FROM", ", x'' FROM")  # they are last, and so are not read from the disk


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
    seq, added = count(db, execution_id), 0
    times, printed = zip(*lines, strict=True)
    for key, key_id in _key_ids(db, execution_id, dict.fromkeys(chain.from_iterable(printed))).items():
        values = _values(times, printed, seq, key)
        _append(db, (execution_id, key_id), values)
        at, time_us, value = (column[-1] for column in values)
        many = len(values.seqs)
        execute(db, LATEST, (execution_id, key_id, at, time_us, _encode(value), to_number(value), many, many))
        if found := compute_extent(values.values):
            execute(db, EXTENT, (execution_id, key_id, *found))
        added += many
    execute(db, "UPDATE execution SET metadata_seq = ? WHERE id = ?", (seq + len(lines), execution_id))
    _thin(db, execution_id, most, max(THINNED_AT_ONCE, 2 * added))


def _values(times: tuple[int, ...], printed: Sequence[Mapping[str, Any]], seq: int, key: str) -> Values:
    """Return the values of a key, whose lines are numbered from `seq` on."""
    try:
        return Values(range(seq, seq + len(times)), times, [values[key] for values in printed])
    except KeyError:
        having = [i for i, values in enumerate(printed) if key in values]
        return Values([seq + i for i in having], tuple(times[i] for i in having), [printed[i][key] for i in having])


def _append(db: Database, of: tuple[int, int], values: Values) -> None:
    first, *others = pack(values)
    start = _start(db, of, first.weight)
    if start is not None:
        before = _select(db, f"{OF} AND seq >= ? ORDER BY seq", (*of, start))
        execute(db, f"DELETE {OF} AND seq >= ?", (*of, start))
        first = merge([*before, first])
    _insert(db, of, [first, *others])


def _start(db: Database, of: tuple[int, int], weight: int) -> int | None:
    """Return the first line of the chunks with which the next one, of this weight, is merged."""
    small = None
    sql = f"SELECT seq, weight {OF} ORDER BY seq DESC LIMIT {MERGED_AT_ONCE}"
    with closing(db.conn.execute(sql, of)) as found:
        for number, (seq, own) in enumerate(found, 1):
            if own >= FULL // 2:
                break
            weight += own
            if number == 1 and own < SMALL:
                small = int(seq)
            if weight >= FULL or number == MERGED_AT_ONCE or (small is not None and weight < SMALL):
                return int(seq)
    return small


def _select(db: Database, where: str, values: Sequence[int]) -> list[MetadataChunk]:
    return list(map(MetadataChunk._make, db.conn.execute(f"SELECT {COLUMNS} {where}", values).fetchall()))


def _insert(db: Database, of: tuple[int, int], chunks: Sequence[MetadataChunk], width: int = 1) -> None:
    db.conn.executemany(INSERT, [(*of, chunk.weight, width, pack_extremes(chunk), *chunk) for chunk in chunks])


def _thin(db: Database, execution_id: int, most: int, budget: int) -> None:
    """Thin keys that have more than their share, until `budget` values have been read; the next call continues.

    The first and the last value stay, and the smallest and the largest of each cell of a grid. A doubled cell covers
    two previous cells, so the density stays even however often a key is thinned.
    """
    found = fetch_row(db, "SELECT COUNT(*) AS n FROM latest WHERE execution_id = ?", (execution_id,))
    share = most // max(1, found["n"] if found else 0)
    sql = "SELECT key_id, thinning FROM latest WHERE execution_id = ? AND (kept > ? OR thinning > 0) ORDER BY kept DESC"
    for item in fetch_rows(db, sql, (execution_id, share)):
        of = (execution_id, item["key_id"])
        ends = fetch_row(db, f"SELECT MIN(seq) AS first, MAX(last) AS last {OF}", of) or {}
        if budget <= 0 or ends["first"] is None:
            continue
        cells = max(1, share // 4 - 2)  # at most half of the share is left
        width = item["thinning"] or 2 ** ((ends["last"] - ends["first"]) // cells).bit_length()
        while budget > 0 and (read := _thin_some(db, of, width, ends.values())):
            budget -= read
        sql = "UPDATE latest SET thinning = ? WHERE execution_id = ? AND key_id = ?"
        execute(db, sql, (width if budget <= 0 else 0, *of))


def _thin_some(db: Database, of: tuple[int, int], width: int, ends: Collection[int]) -> int:
    """Thin the first chunks that are not yet thinned to cells of `width` lines; return how many values they had."""
    where = f"{OF} AND seq >= (SELECT MIN(seq) {OF} AND width < ?) ORDER BY seq LIMIT ?"
    chunks = _select(db, where, (*of, *of, width, THINNED_AT_ONCE // FULL))
    points = [point for chunk in chunks for point in chunk.points()]
    if points:
        kept = thin(points, width, ends)
        execute(db, f"DELETE {OF} AND seq BETWEEN ? AND ?", (*of, points[0].seq, points[-1].seq))
        _insert(db, of, pack(to_columns(kept)), width)
        sql = "UPDATE latest SET kept = kept - ? WHERE execution_id = ? AND key_id = ?"
        execute(db, sql, (len(points) - len(kept), *of))
    return len(points)


@needs_transaction
def move_some_rows(db: Database) -> bool:
    """Move some rows of an older release into chunks; return whether there were any."""
    sql = "SELECT * FROM metadata ORDER BY execution_id DESC, key_id DESC, seq DESC"
    found, weight = [], 0
    with closing(db.conn.execute(sql)) as cursor:
        while weight < MOVED_AT_ONCE and (item := cursor.fetchone()):
            found.append(item)
            weight += 1 + (len(item[-1]) // TEXT_WEIGHT if isinstance(item[-1], str) else 0)
    for of, group in groupby(reversed(found), itemgetter(0, 1)):
        points = [Point(seq, time_us, _decode(value)) for _, _, seq, time_us, value in group]
        _insert(db, of, pack(to_columns(points)))
        execute(db, "DELETE FROM metadata WHERE execution_id = ? AND key_id = ? AND seq >= ?", (*of, points[0].seq))
    return bool(found)


def get_latest(db: Database, execution_id: int) -> dict[str, Any]:
    """Return the latest value of each key, in the order in which keys were first stored by any execution."""
    return map_latest_by_execution(db, [execution_id]).get(execution_id, {})


def map_latest_by_execution(
    db: Database, execution_ids: Sequence[int], names: Sequence[str] | None = None
) -> dict[int, dict[str, Any]]:
    """Return the latest value of each key, or of these keys, by execution id, for several executions."""
    marks = ", ".join("?" * len(execution_ids))
    of_names = "" if names is None else f" AND metadata_key.name IN ({', '.join('?' * len(names))})"
    sql = (
        "SELECT latest.execution_id, metadata_key.name, latest.value FROM latest"
        " JOIN metadata_key ON metadata_key.id = latest.key_id"
        f" WHERE latest.execution_id IN ({marks}){of_names} ORDER BY latest.execution_id, latest.key_id"
    )
    result: dict[int, dict[str, Any]] = {}
    for execution_id, name, value in db.conn.execute(sql, [*execution_ids, *(names or ())]):
        result.setdefault(execution_id, {})[name] = _decode(value)
    return result


def map_latest_for_task(db: Database, task_id: int, names: Collection[str]) -> dict[int, dict[str, Any]]:
    """Return the latest values of these keys by counter of the execution; only the newest execution of each trial."""
    newest = "SELECT MAX(id) AS id, counter FROM execution WHERE task_id = ? GROUP BY trial"
    sql = (
        f"SELECT newest.counter, metadata_key.name, latest.value FROM ({newest}) AS newest"
        " CROSS JOIN metadata_key CROSS JOIN latest ON latest.execution_id = newest.id AND latest.key_id = metadata_key.id"
        f" WHERE metadata_key.name IN ({', '.join('?' * len(names))}) ORDER BY newest.id"
    )
    result: dict[int, dict[str, Any]] = {}
    for found in fetch_rows(db, sql, [task_id, *names]):
        result.setdefault(found["counter"], {})[found["name"]] = _decode(found["value"])
    return result


def list_points(db: Database, execution_id: int, key: str) -> list[Point]:
    """Return all values of a key in order."""
    return list(iterate_points(db, execution_id, key))


def iterate_points(db: Database, execution_id: int, key: str) -> Iterator[Point]:
    """Yield all values of a key in order, unpacked as they are needed."""
    return (point for chunk in _chunks(db, execution_id, name=key).get(key, []) for point in chunk.points())


def list_lines(db: Database, execution_id: int, first: int, many: int) -> list[tuple[int, dict[str, Any]]]:
    """Return metadata lines as printed, (time in microseconds, values), from number `first` on."""
    result: dict[int, tuple[int, dict[str, Any]]] = {}
    for name, points in list_points_by_key(db, execution_id, first, many).items():
        for seq, time_us, value in points:
            result.setdefault(seq, (time_us, {}))[1][name] = value
    return [result[seq] for seq in sorted(result)]


def list_points_by_key(db: Database, execution_id: int, first: int, many: int) -> dict[str, list[Point]]:
    """Return the values on at most `many` metadata lines from number `first` on, by key."""
    end, result = first + many, {}
    for name, chunks in _chunks(db, execution_id, first, end).items():
        if points := [point for chunk in chunks for point in chunk.points(first, end)]:
            result[name] = points
    return result


def _chunks(
    db: Database, execution_id: int, first: int = 0, end: int = LINES, name: str | None = None, sql: str = CHUNKS
) -> dict[str, list[MetadataChunk]]:
    """Return the chunks with values on lines from `first` up to `end`, by key, in the order of key ids."""
    values = {"execution": execution_id, "first": first, "end": end, "name": name}
    result: dict[str, list[MetadataChunk]] = {}
    for (_, key), group in groupby(sorted(db.conn.execute(sql, values), key=itemgetter(0, 2)), itemgetter(0, 1)):
        items = [item[2:] for item in group]
        old = [Point(seq, time_us, _decode(value)) for seq, time_us, value, seqs, *_ in items if seqs is None]
        result[key] = [*pack(to_columns(old)), *(MetadataChunk._make(item) for item in items if item[3] is not None)]
    return result


def list_extremes(db: Database, execution_id: int, key: str, points: int) -> tuple[list[Point], Counts]:
    """Return at most `points` numbers of a key in order, and the counts of its values.

    If there are more, return the smallest and the largest of each stretch, so that no spike is lost, and the last.
    """
    has_rows = "EXISTS (SELECT 1 FROM metadata WHERE execution_id = latest.execution_id AND key_id = latest.key_id)"
    found = fetch_row(db, f"SELECT *, {has_rows} AS has_rows {OF_KEY}", (execution_id, key))
    if found is None:
        return [], Counts(0, 0)
    counts, of = Counts(found["points"], found["kept"]), (execution_id, found["key_id"])
    if counts.kept <= points:
        numbers = [point for point in list_points(db, execution_id, key) if type(point.value) in NUMBER_TYPES]
        return numbers, counts if counts.kept < counts.points else Counts(len(numbers), len(numbers))
    groups = points // 2 - 1
    if found["has_rows"] or counts.kept < groups * STRETCH // 2:
        length = max(1, counts.kept // groups // 2)
        chunks = _chunks(db, execution_id, name=key).get(key, [])
        stretches = [extremes for chunk in chunks for extremes in chunk.extremes(length)]
    else:
        packed = b"".join(item for (item,) in db.conn.execute(f"SELECT extremes {OF} ORDER BY seq", of))
        stretches = list(EXTREMES.iter_unpack(packed))
    numbers, last = reduce(stretches, groups), Point(found["seq"], found["time_us"], found["value"])
    if numbers and type(last.value) in NUMBER_TYPES and numbers[-1].seq < last.seq:
        numbers.append(last)
    return numbers, counts


def list_extremes_between(db: Database, execution_id: int, key: str, points: int, lines: range) -> list[Point]:
    """Return at most `points` numbers of a key on these lines: in order, the smallest and largest of each stretch."""
    key_id = fetch_row(db, "SELECT id FROM metadata_key WHERE name = ?", (key,)) or {"id": 0}
    of_range, values = f"{OF} AND seq < ? AND last >= ?", (execution_id, key_id["id"], lines.stop, lines.start)
    ((weight,),) = db.conn.execute(f"SELECT COALESCE(SUM(weight), 0) {of_range}", values)
    groups = points // 2
    if weight > groups * STRETCH // 4:
        packed = b"".join(item for (item,) in db.conn.execute(f"SELECT extremes {of_range} ORDER BY seq", values))
        stretches = [one for one in EXTREMES.iter_unpack(packed) if one[0] in lines and one[4] in lines]
        return reduce(stretches, groups)
    chunks = _chunks(db, execution_id, lines.start, lines.stop, key).get(key, [])
    parts: list[MetadataChunk] = []
    for chunk in chunks:
        inside = chunk.seq in lines and chunk.last in lines
        parts += [chunk] if inside else pack(to_columns(list(chunk.points(lines.start, lines.stop))))
    size = sum(part.size for part in parts)
    if size <= points:
        return [point for part in parts for point in part.points() if type(point.value) in NUMBER_TYPES]
    return reduce([one for part in parts for one in part.extremes(max(1, size // groups // 2))], groups)


def get_values_at(db: Database, execution_id: int, key: str, seqs: Collection[int]) -> dict[int, Any]:
    """Return the values of a key on the metadata lines `seqs`; for a thinned key, the last one at or before each."""
    found = fetch_row(db, f"SELECT points > kept AS thinned {OF_KEY}", (execution_id, key))
    if found is None or not seqs:
        return {}
    thinned = bool(found["thinned"])
    first, end = 0 if thinned else min(seqs), max(seqs) + 1
    chunks = _chunks(db, execution_id, first, end, key, WITHOUT_TIMES).get(key, [])
    starts = [chunk.seq for chunk in chunks]
    result: dict[int, Any] = {}
    for index, asked in groupby(sorted(seqs), lambda seq: bisect_right(starts, seq) - 1):
        if index >= 0:
            result.update(chunks[index].values_at(asked, earlier=thinned))
    return result


def count(db: Database, execution_id: int) -> int:
    """Return how many metadata lines an execution has printed."""
    found = fetch_row(db, "SELECT metadata_seq FROM execution WHERE id = ?", (execution_id,))
    return int(found["metadata_seq"]) if found else 0


def is_thinned(db: Database, execution_id: int) -> bool:
    """Return whether some values of an execution were dropped because there were too many."""
    return (
        fetch_row(db, "SELECT 1 FROM latest WHERE execution_id = ? AND points > kept LIMIT 1", (execution_id,))
        is not None
    )


def _key_ids(db: Database, execution_id: int, names: Collection[str]) -> dict[str, int]:
    """Return the ids of key names, creating new ones; names beyond KEYS_PER_EXECUTION are omitted."""
    sql = (
        "SELECT metadata_key.name, metadata_key.id FROM latest JOIN metadata_key ON metadata_key.id = latest.key_id"
        " WHERE latest.execution_id = ?"
    )
    ids = {found["name"]: int(found["id"]) for found in fetch_rows(db, sql, (execution_id,))}
    for name in names:
        if name not in ids and len(ids) < KEYS_PER_EXECUTION:
            execute(db, "INSERT INTO metadata_key (name) VALUES (?) ON CONFLICT (name) DO NOTHING", (name,))
            found = fetch_row(db, "SELECT id FROM metadata_key WHERE name = ?", (name,))
            ids[name] = int(found["id"]) if found else 0
    return {name: ids[name] for name in names if name in ids}


def _encode(value: Any) -> Any:
    return value if type(value) in NUMBER_TYPES else orjson.dumps(value).decode()


def _decode(value: Any) -> Any:
    return orjson.loads(value) if isinstance(value, str) else value
