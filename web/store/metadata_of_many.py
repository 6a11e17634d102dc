"""Metadata of many executions at once, for tables: series of few points, and the lowest and highest numbers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import groupby
from operator import itemgetter

from sqlite_utils import Database

from web.store.metadata import COLUMNS
from web.store.metadata_chunks import EXTREMES, Extremes, MetadataChunk, Point, reduce

READ_WHOLE = 2000  # values of a series; of longer ones only the stored extremes of each stretch are read
OF_KEY = "key_id = (SELECT id FROM metadata_key WHERE name = ?) AND execution_id IN ({})"


def map_series(db: Database, execution_ids: Collection[int], key: str, groups: int) -> dict[int, list[Point]]:
    """Return by execution id at most two numbers for each of `groups` parts of a series, its peaks among them."""
    marks = ", ".join("?" * len(execution_ids))
    found = db.conn.execute(
        f"SELECT execution_id, kept FROM latest WHERE {OF_KEY.format(marks)}", (key, *execution_ids)
    )
    kept = dict(found.fetchall())
    short = [execution_id for execution_id, values in kept.items() if values <= READ_WHOLE]
    stretches: dict[int, list[Extremes]] = {}
    sql = f"SELECT execution_id, {COLUMNS} FROM metadata_chunk WHERE {OF_KEY} ORDER BY execution_id, seq"
    rows = db.conn.execute(sql.format(", ".join("?" * len(short))), (key, *short))
    for execution_id, group in groupby(rows, itemgetter(0)):
        length = max(1, kept[execution_id] // groups)
        stretches[execution_id] = [one for item in group for one in MetadataChunk._make(item[1:]).extremes(length)]
    long = kept.keys() - set(short)
    for (execution_id, _), packed in (_extremes(db, long, [key]) if long else {}).items():
        stretches[execution_id] = list(EXTREMES.iter_unpack(packed))
    return {execution_id: reduce(of, groups) for execution_id, of in stretches.items()}


def map_extents(
    db: Database, execution_ids: Collection[int], keys: Sequence[str]
) -> dict[tuple[int, str], tuple[float, float]]:
    """Return the lowest and the highest number by execution id and key, for those that have numbers."""
    if not keys:
        return {}
    sql = (
        "SELECT execution_id, name, low, high FROM metadata_key JOIN latest ON key_id = metadata_key.id"
        f" WHERE name IN ({', '.join('?' * len(keys))}) AND execution_id IN ({', '.join('?' * len(execution_ids))})"
    )  # without "low IS NOT NULL": SQLite would read the index of all executions
    found = db.conn.execute(sql, (*keys, *execution_ids))
    return {(of, name): (low, high) for of, name, low, high in found if low is not None}


def _extremes(db: Database, execution_ids: Collection[int], keys: Sequence[str]) -> dict[tuple[int, str], bytes]:
    """Return the packed extremes of stretches by execution id and key, in their order. Reads only an index."""
    sql = (
        "SELECT execution_id, name, extremes FROM metadata_key JOIN metadata_chunk ON key_id = metadata_key.id"
        f" WHERE name IN ({', '.join('?' * len(keys))}) AND execution_id IN ({', '.join('?' * len(execution_ids))})"
        " ORDER BY execution_id, key_id, seq"
    )
    found = db.conn.execute(sql, (*keys, *execution_ids))
    return {of: b"".join(item[2] for item in group) for of, group in groupby(found, itemgetter(0, 1))}
