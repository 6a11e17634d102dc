"""Resource usage of executions, as series of samples.

A series keeps at most 10,000 samples. Beyond that, one sample per cell of a grid is kept; cells double each time, so
that the density stays even.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sqlite_utils import Database

from web.store.db import execute, fetch_row, fetch_rows, needs_transaction

SERIES = re.compile(r"cpu|memory|gpu(_memory)?:[0-9]{1,2}")
KEPT = 10_000  # samples per series, 28 hours at one every ten seconds; beyond that half of them are deleted, evenly


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A sample. `series` is cpu (cores), memory (bytes), gpu:N (percent) or gpu_memory:N (bytes); N counts devices."""

    time_us: int
    series: str
    value: float


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """Statistics of a series in the stretch `number` of an execution's time."""

    number: int
    mean: float
    largest: float


@needs_transaction
def add(db: Database, execution_id: int, samples: Sequence[Sample]) -> None:
    """Store samples; existing ones are kept."""
    values = [(execution_id, sample.series, sample.time_us, sample.value) for sample in samples]
    db.conn.executemany("INSERT OR IGNORE INTO usage VALUES (?, ?, ?, ?)", values)
    for series in {sample.series for sample in samples}:
        if count(db, execution_id, series) > KEPT:
            _thin(db, execution_id, series)


def find_time_span(db: Database, execution_id: int) -> tuple[int, int] | None:
    """Return the times of the first and the last sample, None if there are none."""
    sql = "SELECT MIN(time_us) AS first, MAX(time_us) AS last FROM usage WHERE execution_id = ?"
    found = fetch_row(db, sql, (execution_id,))
    return (found["first"], found["last"]) if found and found["first"] is not None else None


def list_stretches(db: Database, execution_id: int, first_us: int, width_us: int) -> dict[str, list[Stretch]]:
    """Return each series in stretches of `width_us` from `first_us` on; stretches without samples are omitted."""
    sql = (
        "SELECT series, (time_us - ?) / ? AS number, AVG(value) AS mean, MAX(value) AS largest FROM usage"
        " WHERE execution_id = ? GROUP BY series, number ORDER BY series, number"
    )
    result: dict[str, list[Stretch]] = {}
    for found in fetch_rows(db, sql, (first_us, width_us, execution_id)):
        result.setdefault(found.pop("series"), []).append(Stretch(**found))
    return result


def get_latest(db: Database, execution_id: int) -> dict[str, float]:
    """Return the newest sample of each series."""
    sql = "SELECT series, value, MAX(time_us) FROM usage WHERE execution_id = ? GROUP BY series"
    return {found["series"]: float(found["value"]) for found in fetch_rows(db, sql, (execution_id,))}


def map_latest(db: Database, of: Sequence[tuple[int, str]]) -> dict[tuple[int, str], float]:
    """Return the newest sample of each (execution id, series) that has one."""
    newest = "SELECT value FROM usage WHERE execution_id = e AND series = s ORDER BY time_us DESC LIMIT 1"
    sql = (
        f"WITH wanted (e, s) AS (VALUES {', '.join(['(?, ?)'] * len(of))}) SELECT e, s, ({newest}) AS value FROM wanted"
    )
    found = fetch_rows(db, sql, [value for pair in of for value in pair]) if of else []
    return {(item["e"], item["s"]): item["value"] for item in found if item["value"] is not None}


def count(db: Database, execution_id: int, series: str) -> int:
    found = fetch_row(
        db, "SELECT COUNT(*) AS n FROM usage WHERE execution_id = ? AND series = ?", (execution_id, series)
    )
    return int(found["n"]) if found else 0


def _thin(db: Database, execution_id: int, series: str) -> None:
    """Keep the last sample of each cell of a grid. A doubled cell covers two old ones, so the density stays even."""
    of, values = "FROM usage WHERE execution_id = ? AND series = ?", (execution_id, series)
    found = fetch_row(db, f"SELECT MAX(time_us) - MIN(time_us) AS length {of}", values)
    width = 2 ** ((found["length"] if found else 0) // (KEPT // 2)).bit_length()
    sql = f"DELETE {of} AND time_us NOT IN (SELECT MAX(time_us) {of} GROUP BY time_us / {width})"
    execute(db, sql, values * 2)
