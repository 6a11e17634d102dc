"""What executions used of their machine, as series of samples."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sqlite_utils import Database

from web.store.db import execute, row, rows

SERIES = re.compile(r"cpu|memory|gpu(_memory)?:[0-9]{1,2}")
KEPT = 20_000  # samples of one series, 55 hours of one each ten seconds; past it half of them go, evenly


@dataclass(frozen=True, kw_only=True)
class Sample:
    """`series` is cpu (processors), memory (bytes), gpu:N (percent) or gpu_memory:N (bytes), N counting its devices."""

    time_us: int
    series: str
    value: float


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """The mean of a series' samples in the stretch `number` of an execution's time."""

    number: int
    value: float


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Of one series: how many samples, the largest and the last of them."""

    samples: int
    largest: float
    last: float


def add(db: Database, execution_id: int, samples: Sequence[Sample]) -> None:
    """Store samples; one that is there already stays. Call inside a transaction."""
    values = [(execution_id, sample.series, sample.time_us, sample.value) for sample in samples]
    db.conn.executemany("INSERT OR IGNORE INTO usage VALUES (?, ?, ?, ?)", values)
    for series in {sample.series for sample in samples}:
        found = row(db, "SELECT COUNT(*) AS n FROM usage WHERE execution_id = ? AND series = ?", (execution_id, series))
        if found and found["n"] > KEPT:
            _thin(db, execution_id, series)


def span(db: Database, execution_id: int) -> tuple[int, int] | None:
    """The times of the first and the last sample."""
    sql = "SELECT MIN(time_us) AS first, MAX(time_us) AS last FROM usage WHERE execution_id = ?"
    found = row(db, sql, (execution_id,))
    return (found["first"], found["last"]) if found and found["first"] is not None else None


def summaries(db: Database, execution_id: int) -> dict[str, Summary]:
    """Of each series that there is."""
    # beside a lone MAX, SQLite takes the bare columns from the row that has it
    sql = (
        "SELECT latest.series, latest.value AS last, COUNT(*) AS samples, MAX(usage.value) AS largest FROM"
        " (SELECT series, MAX(time_us), value FROM usage WHERE execution_id = ? GROUP BY series) AS latest"
        " JOIN usage ON usage.execution_id = ? AND usage.series = latest.series GROUP BY latest.series"
    )
    found = rows(db, sql, (execution_id, execution_id))
    return {item.pop("series"): Summary(**item) for item in found}


def stretches(db: Database, execution_id: int, first_us: int, width_us: int) -> dict[str, list[Stretch]]:
    """Each series in stretches of `width_us` from `first_us` on; those without a sample are left out."""
    sql = (
        "SELECT series, (time_us - ?) / ? AS number, AVG(value) AS value FROM usage WHERE execution_id = ?"
        " GROUP BY series, number ORDER BY series, number"
    )
    result: dict[str, list[Stretch]] = {}
    for found in rows(db, sql, (first_us, width_us, execution_id)):
        result.setdefault(found["series"], []).append(Stretch(number=found["number"], value=found["value"]))
    return result


def _thin(db: Database, execution_id: int, series: str) -> None:
    """Keep the last sample of each of KEPT / 2 stretches of the same length."""
    of = "FROM usage WHERE execution_id = ? AND series = ?"
    sql = (
        f"DELETE {of} AND time_us NOT IN (SELECT MAX(time_us) {of} GROUP BY (time_us - (SELECT MIN(time_us) {of}))"
        f" / (SELECT MAX(1, (MAX(time_us) - MIN(time_us)) / {KEPT // 2} + 1) {of}))"
    )
    execute(db, sql, (execution_id, series) * 4)
