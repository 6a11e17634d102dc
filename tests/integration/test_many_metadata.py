"""Programs that print millions of metadata values: what is stored and what a page reads are bounded."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from api_server import ApiServer
from site_client import Person

from web.services.presentation import charts
from web.store import metadata
from web.store.db import execute, row, rows, transaction
from web.store.metadata import Counts

MOST = 1000


@pytest.fixture
def small(tmp_path: Path) -> Iterator[ApiServer]:
    server = ApiServer(tmp_path / "data", limits={"metadata": MOST})
    yield server
    server.close()


def printed(api: ApiServer, lines: list[dict[str, object]], uuid: str = "", at: int = 0) -> str:
    uuid = uuid or api.started()[0]
    for start in range(0, len(lines), 1000):
        text = b"".join(json.dumps(line).encode() + b"\n" for line in lines[start : start + 1000])
        assert api.log(uuid, text, at).status_code == 200
        at += len(text)
    return uuid


def kept(api: ApiServer, uuid: str, key: str) -> list[metadata.Point]:
    return metadata.series(api.db, api.execution(uuid).id, key)


def test_a_long_series_keeps_its_ends_its_peaks_and_is_even(small: ApiServer) -> None:
    peaks = {4321: 999.0, 7654: -999.0}
    uuid = printed(small, [{"loss": peaks.get(i, i % 7)} for i in range(20_000)])
    points = kept(small, uuid, "loss")
    assert 100 < len(points) <= MOST
    assert (points[0].seq, points[-1].seq) == (0, 19_999)
    assert {point.seq: point.value for point in points if abs(point.value) == 999} == peaks
    gaps = [b.seq - a.seq for a, b in pairwise(point for point in points if point.seq < 19_000)]
    assert max(gaps) < 10 * 20_000 / len(points)
    _, counts = metadata.extremes(small.db, small.execution(uuid).id, "loss", 1000)
    assert counts == Counts(20_000, len(points))
    assert metadata.latest(small.db, small.execution(uuid).id) == {"loss": 19_999 % 7}


def test_keys_share_the_limit(small: ApiServer) -> None:
    lines: list[dict[str, object]] = [{f"k{n}": i for n in range(10)} for i in range(1000)]
    uuid = printed(small, [*lines, *([{"once": 1}] * 5)])
    for _ in range(10):  # a transaction thins few keys
        with transaction(small.db):
            metadata.add(small.db, small.execution(uuid).id, [(0, {"more": 1})], MOST)
    found = row(small.db, "SELECT COUNT(*) AS n FROM metadata")
    assert found is not None
    assert found["n"] <= MOST
    assert [len(kept(small, uuid, key)) for key in ("once", "more")] == [5, 10]


def test_values_of_all_kinds_are_thinned(small: ApiServer) -> None:
    kinds: list[object] = ["text", None, True, 1.5, float("nan"), [1, {"a": 2}], 3]
    uuid = printed(small, [{"mixed": kinds[i % 7]} for i in range(5000)])
    assert len(kept(small, uuid, "mixed")) <= MOST
    assert metadata.latest(small.db, small.execution(uuid).id)["mixed"] == kinds[4999 % 7]


def test_a_chart_over_a_key_that_is_thinned_too_has_its_points(small: ApiServer) -> None:
    uuid = printed(small, [{"step": 10 * i, "loss": (i * 7919) % 1000} for i in range(5000)])
    person = Person(small)
    person.log_in()
    path = f"/p/demo/executions/{small.execution(uuid).counter}/"
    found = json.loads(person.get(f"{path}series?key=loss&x=key.step").text)
    assert len(found["x"]) > 100
    assert all(0 <= 10 * seq - x < 10 * 5000 / 20 for seq, x in zip(found["seq"], found["x"], strict=True))
    assert (found["points"], found["kept"]) == (5000, len(kept(small, uuid, "loss")))
    assert "printed more metric values than are stored" in person.get(path).text
    few = printed(small, [{"step": i} for i in range(MOST)])
    page = person.get(f"/p/demo/executions/{small.execution(few).counter}/").text
    assert "values than are stored" not in page


def test_what_a_chart_reads_is_bounded_where_an_older_release_stored_everything(api: ApiServer) -> None:
    uuid = printed(api, [{"a": 1}, {"a": 2}])
    execution = api.execution(uuid).id
    numbers = "WITH RECURSIVE n (i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 999999)"
    key = "(SELECT id FROM metadata_key WHERE name = 'a')"
    execute(api.db, f"INSERT INTO metadata {numbers} SELECT {execution}, {key}, i, i, i % 1000 FROM n")
    execute(api.db, "UPDATE latest SET points = 1000000, kept = 1000000, seq = 999999, value = 999")
    ticks: list[None] = []
    api.db.conn.set_progress_handler(lambda: ticks.append(None), 1000)  # called after each 1,000 steps of SQLite
    assert charts.sparkline(api.db, execution, "a")
    spark = len(ticks)
    found = charts.series(api.db, execution, "a", charts.Axis(by="number"))
    chart = len(ticks) - spark
    api.db.conn.set_progress_handler(None, 0)
    assert (found["x"][0], found["x"][-1], len(found["x"]) <= 1000) == (0, 999_999, True)
    assert (spark < 300, chart < 3000) == (True, True), (spark, chart)


def test_an_older_database_knows_afterwards_how_many_values_its_keys_have(api: ApiServer) -> None:
    printed(api, [{"a": 1, "b": 2}, {"a": 3}, {"a": "x"}])
    before = rows(api.db, "SELECT * FROM metadata")
    for column in ("points", "kept"):
        execute(api.db, f"ALTER TABLE latest DROP COLUMN {column}")
    importlib.import_module("web.store.migrations.m0009_metadata_counts").migrate(api.db)
    found = rows(
        api.db,
        "SELECT name, points, kept FROM latest JOIN metadata_key ON metadata_key.id = latest.key_id ORDER BY name",
    )
    assert [tuple(item.values()) for item in found] == [("a", 3, 3), ("b", 1, 1)]
    assert rows(api.db, "SELECT * FROM metadata") == before
