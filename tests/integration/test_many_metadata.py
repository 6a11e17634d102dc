"""Programs that print millions of metadata values: stored rows and the work of a page are bounded."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from contextlib import suppress
from itertools import cycle, pairwise
from pathlib import Path
from typing import Any

import pytest
from api_server import ApiServer
from push_server import PushServer
from site_client import Person

from web.processes.sweep import Sweeper
from web.services.presentation import charts
from web.store import metadata
from web.store.db import Database, execute, fetch_row, fetch_rows, transaction
from web.store.metadata import MERGED_AT_ONCE, SMALL, Counts
from web.store.metadata_chunks import FULL, Point

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


def kept(api: ApiServer, uuid: str, key: str) -> list[Point]:
    return metadata.list_points(api.db, api.execution(uuid).id, key)


def all_kinds(many: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Metadata lines with numbers and texts, and keys that are not on every line."""
    kinds: list[Any] = [0, -1, 2**53, -(2**53), 0.1, -0.0, 5e-324, 1.7e308, True, None, "", "NaN", [1, {"a": 2.5}]]
    for i in range(many):
        line = {"float": i / 7, "integer": i * i, "mixed": kinds[i * i % len(kinds)], "either": i if i % 3 else i / 2}
        some = {"rare": i} if i % 97 == 0 else {"text": "x" * (i % 700), "late": 2**40}
        yield 10**15 + 10**7 * i + (10**13 if i > many // 2 else 0), line | some


def store_rows(db: Database, execution_id: int, lines: list[tuple[int, dict[str, Any]]]) -> None:
    """Store metadata as older releases did."""
    with transaction(db):
        metadata.add(db, execution_id, lines)
        execute(db, "DELETE FROM metadata_chunk WHERE execution_id = ?", (execution_id,))
        for found in fetch_rows(db, "SELECT id, name FROM metadata_key"):
            values = [(i, time_us, line.get(found["name"], ...)) for i, (time_us, line) in enumerate(lines)]
            stored = [
                (execution_id, found["id"], i, time_us, v if type(v) in (int, float) else json.dumps(v))
                for i, time_us, v in values
                if v is not ...
            ]
            db.conn.executemany("INSERT INTO metadata VALUES (?, ?, ?, ?, ?)", stored)


def answers(db: Database, execution_id: int) -> list[str]:
    """Everything that is read of metadata, as text that differs for 1 and 1.0."""
    found: list[Any] = [metadata.get_latest(db, execution_id), metadata.list_lines(db, execution_id, 0, 10_000)]
    found += [metadata.list_points_by_key(db, execution_id, first, 1000) for first in (0, 777, 1450, 1990)]
    for key in metadata.get_latest(db, execution_id):
        found += [
            metadata.list_points(db, execution_id, key),
            metadata.get_values_at(db, execution_id, key, [0, 97, 1601, 3]),
        ]
        found += [metadata.list_extremes(db, execution_id, key, 10_000)]
        few, counts = metadata.list_extremes(db, execution_id, key, 100)
        found += [
            counts,
            few[-1:] if key != "mixed" else [],
            min((p.value for p in few), default=0),
            max((p.value for p in few), default=0),
        ]
    return list(map(repr, found))


def test_a_long_series_keeps_its_ends_its_peaks_and_is_even(small: ApiServer) -> None:
    peaks = {4321: 999.0, 7654: -999.0}
    uuid = printed(small, [{"loss": peaks.get(i, i % 7)} for i in range(20_000)])
    points = kept(small, uuid, "loss")
    assert 100 < len(points) <= MOST
    assert (points[0].seq, points[-1].seq) == (0, 19_999)
    assert {point.seq: point.value for point in points if abs(point.value) == 999} == peaks
    gaps = [b.seq - a.seq for a, b in pairwise(point for point in points if point.seq < 19_000)]
    assert max(gaps) < 10 * 20_000 / len(points)
    _, counts = metadata.list_extremes(small.db, small.execution(uuid).id, "loss", 1000)
    assert counts == Counts(20_000, len(points))
    assert metadata.get_latest(small.db, small.execution(uuid).id) == {"loss": 19_999 % 7}


def test_keys_share_the_limit(small: ApiServer) -> None:
    lines: list[dict[str, object]] = [{f"k{n}": i for n in range(10)} for i in range(1000)]
    uuid = printed(small, [*lines, *([{"once": 1}] * 5)])
    for _ in range(10):  # a transaction thins few keys
        with transaction(small.db):
            metadata.add(small.db, small.execution(uuid).id, [(0, {"more": 1})], MOST)
    assert sum(len(kept(small, uuid, key)) for key in ("once", "more", *(f"k{n}" for n in range(10)))) <= MOST
    assert [len(kept(small, uuid, key)) for key in ("once", "more")] == [5, 10]


def test_values_of_all_kinds_are_thinned(small: ApiServer) -> None:
    kinds: list[object] = ["text", None, True, 1.5, float("nan"), [1, {"a": 2}], 3]
    uuid = printed(small, [{"mixed": kinds[i % 7]} for i in range(5000)])
    assert len(kept(small, uuid, "mixed")) <= MOST
    assert metadata.get_latest(small.db, small.execution(uuid).id)["mixed"] == kinds[4999 % 7]


def test_a_chart_over_a_key_that_is_thinned_too_has_its_points(small: ApiServer) -> None:
    uuid = printed(small, [{"step": 10 * i, "loss": (i * 7919) % 1000} for i in range(5000)])
    person = Person(small)
    person.log_in()
    path = f"/p/demo/executions/{small.execution(uuid).counter}/"
    found = json.loads(person.get(f"{path}series?key=loss&x=key.step").text)
    assert len(found["x"]) > 100
    assert all(0 <= 10 * seq - x < 10 * 5000 / 20 for seq, x in zip(found["seq"], found["x"], strict=True))
    assert (found["points"], found["kept"]) == (5000, len(kept(small, uuid, "loss")))
    assert "printed more metric values than are stored" in person.get(f"{path}charts/").text
    few = printed(small, [{"step": i} for i in range(MOST)])
    page = person.get(f"/p/demo/executions/{small.execution(few).counter}/charts/").text
    assert "values than are stored" not in page


def test_a_very_long_series_is_thinned_bit_by_bit_and_is_even_in_the_end(api: ApiServer) -> None:
    execution, most, peak = api.execution(api.started()[0]).id, 200_000, 123_456
    for start in range(0, 300_000, 10_000):
        with transaction(api.db):
            lines = [(i, {"loss": -1 if i == peak else (i * 7919) % 1000}) for i in range(start, start + 10_000)]
            metadata.add(api.db, execution, lines, most)
        found = fetch_row(api.db, "SELECT kept FROM latest")
        assert found is not None
        assert found["kept"] <= most + 10_000
    for _ in range(3):
        with transaction(api.db):
            metadata.add(api.db, execution, [(0, {"loss": 0})], most)
    points = metadata.list_points(api.db, execution, "loss")
    assert [point.value for point in points if point.seq == peak] == [-1]
    _, counts = metadata.list_extremes(api.db, execution, "loss", 1000)
    assert counts == Counts(300_003, len(points))
    in_quarters = [sum(1 for point in points if point.seq // 50_000 == quarter) for quarter in range(4)]
    assert max(in_quarters) < 1.2 * min(in_quarters), in_quarters


def test_a_chart_of_many_values_reads_only_what_is_ready(api: ApiServer) -> None:
    execution, spike = api.execution(api.started()[0]).id, 177_777
    for start in range(0, 250_000, 50_000):
        with transaction(api.db):
            lines = [(i, {"loss": 5.5 if i == spike else i % 3}) for i in range(start, start + 50_000)]
            metadata.add(api.db, execution, lines)
    execute(api.db, "UPDATE metadata_chunk SET numbers = x'', times = x'', kinds = x''")  # are not read
    found = charts.get_series(api.db, execution, "loss", charts.Axis(by="number"))
    assert (found["x"][0], found["x"][-1], found["points"], found["kept"]) == (0, 249_999, 250_000, 250_000)
    assert found["y"][found["x"].index(spike)] == max(found["y"]) == 5.5
    assert {type(y) for y in found["y"]} == {int, float}
    assert 500 < len(found["x"]) <= 1000


def test_a_part_of_a_long_series_has_more_points_and_all_of_its_peaks(api: ApiServer) -> None:
    execution = api.execution(api.started()[0]).id
    values = [float((i * 7919) % 1000) for i in range(200_000)]
    values[100_100], values[100_200] = -5.0, 5000.0
    lines: list[dict[str, Any]] = [{"loss": value, "note": "x"} for value in values]
    for first in range(0, len(lines), 20_000):
        with transaction(api.db):
            metadata.add(api.db, execution, list(enumerate(lines[first : first + 20_000], first)), most=10**6)
    for part in (range(100_090, 100_210), range(100_000, 104_000), range(90_000, 120_000), range(50_000, 190_000)):
        found = metadata.list_extremes_between(api.db, execution, "loss", 1000, part)
        assert len(found) == len(part) if len(part) <= 1000 else 100 < len(found) <= 1000
        assert all(point.seq in part and point.value == values[point.seq] for point in found)
        assert [point.seq for point in found] == sorted({point.seq for point in found})
        assert {(100_100, -5.0), (100_200, 5000.0)} <= {(point.seq, point.value) for point in found}
    assert metadata.list_extremes_between(api.db, execution, "note", 1000, range(500)) == []
    assert metadata.list_extremes_between(api.db, execution, "none", 1000, range(500)) == []
    assert metadata.list_extremes_between(api.db, execution, "loss", 1000, range(10**15, 10**16)) == []
    zoomed = charts.get_series_part(api.db, execution, "loss", charts.Axis(by="number"), range(100_095, 100_105))
    assert (zoomed["x"], zoomed["y"]) == (zoomed["seq"], values[100_095:100_105])


def test_little_is_written_for_one_value(api: ApiServer) -> None:
    execution = api.execution(api.started()[0]).id
    changed = []
    for i in range(5000):
        before = api.db.conn.total_changes
        with transaction(api.db):
            metadata.add(api.db, execution, [(i, {"loss": i / 2})])
        changed.append(api.db.conn.total_changes - before)
        if i % 500 == 499:
            assert [point.value for point in metadata.list_points(api.db, execution, "loss")] == [
                n / 2 for n in range(i + 1)
            ]
    found = fetch_rows(api.db, "SELECT size, length(numbers) AS bytes FROM metadata_chunk ORDER BY seq")
    assert [item["bytes"] for item in found] == [8 * item["size"] for item in found]
    assert len(found) < 5000 // FULL + MERGED_AT_ONCE
    assert max(item["size"] for item in found) <= FULL + SMALL
    assert sum(1 for many in changed if many > 6) <= 5000 // FULL + 1  # merges


def test_values_of_all_kinds_are_kept_exactly_however_they_arrive(api: ApiServer) -> None:
    execution, at = api.execution(api.started()[0]).id, 0
    lines = list(all_kinds(9000))
    for many in cycle((1, 50, 1, 2500, 700)):
        with transaction(api.db):
            metadata.add(api.db, execution, lines[at : at + many])
        at += many
        if at >= len(lines):
            break
    found = metadata.list_lines(api.db, execution, 0, 10_000)
    assert list(map(repr, found)) == list(map(repr, lines))
    assert repr(metadata.list_lines(api.db, execution, 4321, 99)) == repr(lines[4321:4420])
    biggest = fetch_row(api.db, "SELECT MAX(weight) AS weight, COUNT(*) AS n FROM metadata_chunk")
    assert biggest is not None
    assert biggest["weight"] < 3 * FULL


def test_rows_of_an_older_release_are_read_and_moved_whenever_it_is_killed(api: ApiServer) -> None:
    lines = list(all_kinds(2000))
    ours, older = (api.execution(api.started()[0]).id for _ in range(2))
    with transaction(api.db):
        metadata.add(api.db, ours, lines)
    store_rows(api.db, older, lines[:1500])
    with transaction(api.db):  # an execution that goes on printing
        metadata.add(api.db, older, lines[1500:])
    expected, more = answers(api.db, ours), True
    while more:
        assert answers(api.db, older) == expected
        before = fetch_rows(api.db, "SELECT COUNT(*) FROM metadata")
        with suppress(KeyboardInterrupt), transaction(api.db):
            metadata.move_some_rows(api.db)
            raise KeyboardInterrupt
        assert fetch_rows(api.db, "SELECT COUNT(*) FROM metadata") == before
        with transaction(api.db):
            more = metadata.move_some_rows(api.db)
    assert fetch_rows(api.db, "SELECT * FROM metadata") == []
    found = fetch_rows(api.db, "SELECT * FROM metadata_chunk WHERE execution_id = ? ORDER BY key_id, seq", (older,))
    assert all(a["key_id"] < b["key_id"] or a["last"] < b["seq"] for a, b in pairwise(found))


def test_the_sweep_moves_rows_of_an_older_release(pushes: PushServer) -> None:
    numbers = "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 29999)"
    execute(pushes.db, f"INSERT INTO metadata {numbers} SELECT 1, 1, i, i, i % 1000 FROM n")
    sweeper, left = Sweeper(pushes.config, pushes.vault, pushes.queues), []
    try:
        for _ in range(4):
            sweeper.sweep()
            left += fetch_rows(pushes.db, "SELECT COUNT(*) AS n FROM metadata")
    finally:
        sweeper.close()
    assert [item["n"] for item in left] == [20_000, 10_000, 0, 0]
    assert fetch_rows(pushes.db, "SELECT SUM(size) AS n FROM metadata_chunk") == [{"n": 30_000}]


def test_an_older_database_knows_afterwards_how_many_values_its_keys_have(api: ApiServer) -> None:
    execution = api.execution(api.started()[0]).id
    store_rows(api.db, execution, [(0, {"a": 1, "b": 2}), (0, {"a": 3}), (0, {"a": "x"})])
    before = fetch_rows(api.db, "SELECT * FROM metadata")
    for column in ("points", "kept"):
        execute(api.db, f"ALTER TABLE latest DROP COLUMN {column}")
    importlib.import_module("web.store.migrations.m0009_metadata_counts").migrate(api.db)
    found = fetch_rows(
        api.db,
        "SELECT name, points, kept FROM latest JOIN metadata_key ON metadata_key.id = latest.key_id ORDER BY name",
    )
    assert [tuple(item.values()) for item in found] == [("a", 3, 3), ("b", 1, 1)]
    assert fetch_rows(api.db, "SELECT * FROM metadata") == before


EXTENTS = "SELECT execution_id, key_id, low, high FROM latest ORDER BY execution_id, key_id"


def test_the_lowest_and_the_highest_number_of_a_key_are_known_also_after_an_upgrade(api: ApiServer) -> None:
    lines = list(all_kinds(2000))
    ours, older = (api.execution(api.started()[0]).id for _ in range(2))
    for first, end in ((0, 1), (1, 1900), (1900, 2000)):
        with transaction(api.db):
            metadata.add(api.db, ours, lines[first:end])
    store_rows(api.db, older, lines[:1500])
    with transaction(api.db):
        metadata.add(api.db, older, [*lines[1500:], (0, {"mixed": float("nan"), "float": -2})])
    found = {(item["execution_id"], item["name"]): (item["low"], item["high"]) for item in fetch_rows(
        api.db, "SELECT latest.*, name FROM latest JOIN metadata_key ON metadata_key.id = latest.key_id"
    )}  # fmt: skip
    assert found[ours, "mixed"] == (-(2.0**53), 0.1)
    assert found[ours, "float"] == (0, 1999 / 7)
    assert found[older, "float"] == (-2, 1999 / 7)
    assert found[ours, "text"] == (None, None)
    expected = fetch_rows(api.db, EXTENTS)
    for index in ("latest_by_low", "latest_by_high"):
        execute(api.db, f"DROP INDEX {index}")
    for column in ("low", "high"):
        execute(api.db, f"ALTER TABLE latest DROP COLUMN {column}")
    importlib.import_module("web.store.migrations.m0030_extents").migrate(api.db)
    assert fetch_rows(api.db, EXTENTS) == expected
