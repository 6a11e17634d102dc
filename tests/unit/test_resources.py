"""Resource usage of executions: bounded when stored, thinned when drawn, one chart for each kind."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from web.services.presentation import resources
from web.store import usage
from web.store.db import Database, connect, execute, fetch_rows, transaction
from web.store.schema import migrate
from web.store.usage import Sample

EXECUTION, SECOND = 7, 1_000_000


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    path = tmp_path / "pushmill.db"
    db = connect(path)
    migrate(db, path, print)
    execute(db, "PRAGMA foreign_keys = OFF")
    yield db
    db.close()


def add(db: Database, *samples: tuple[float, str, float]) -> None:
    with transaction(db):
        found = [Sample(time_us=int(at * SECOND), series=series, value=value) for at, series, value in samples]
        usage.add(db, EXECUTION, found)


def test_without_samples_there_are_no_charts(db: Database) -> None:
    assert resources.make_charts(db, EXECUTION, 0).charts == []


def test_devices_share_a_chart_for_each_kind_in_the_order_of_their_numbers(db: Database) -> None:
    for at in (100, 110):
        add(db, *((at, f"gpu:{gpu}", 10 * gpu + at - 100) for gpu in (10, 2, 0)))
        add(db, (at, "cpu", 1.5), (at, "memory", 2**30))
    found = resources.make_charts(db, EXECUTION, 90 * SECOND)
    assert [(chart.kind, chart.title, chart.last) for chart in found.charts] == [
        ("cpu", "CPU cores", "1.50"),
        ("memory", "Memory", "1.00 GiB"),
        ("gpu", "3 GPUs", "10\u2013110 %"),
    ]
    assert found.x == [10, 20]
    assert [(line.number, line.y, line.last) for line in found.charts[2].lines] == [
        (0, [0, 10], "10 %"),
        (2, [20, 30], "30 %"),
        (10, [100, 110], "110 %"),
    ]


def test_a_day_is_drawn_with_300_points_and_their_peak_is_told(db: Database) -> None:
    add(db, *((10 * number, "cpu", 1.0) for number in range(9_000)))
    add(db, (44_444, "cpu", 9.0), (50, "memory", 5))
    found = resources.make_charts(db, EXECUTION, 0)
    assert 290 <= len(found.x) <= 300
    assert found.step_s == pytest.approx(300, abs=1)
    assert found.charts[0].largest == "9.00"
    assert found.charts[1].lines[0].y.count(None) == len(found.x) - 1


def test_past_its_bound_a_series_is_thinned_evenly(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "KEPT", 100)
    for number in range(1000):
        add(db, (number, "cpu", number), (number, "memory", 1))
    for series in ("cpu", "memory"):
        assert 25 <= usage.count(db, EXECUTION, series) <= 100
    times = [found["time_us"] // SECOND for found in fetch_rows(db, "SELECT time_us FROM usage WHERE series = 'cpu'")]
    assert max(b - a for a, b in pairwise([0, *times])) <= 40
    assert times[-1] == 999


def test_the_same_samples_again_change_nothing(db: Database) -> None:
    add(db, (1, "cpu", 1.0), (2, "cpu", 2.0))
    add(db, (1, "cpu", 5.0), (2, "cpu", 2.0))
    assert (usage.count(db, EXECUTION, "cpu"), usage.get_latest(db, EXECUTION)["cpu"]) == (2, 2.0)
    assert resources.make_charts(db, EXECUTION, 0).charts[0].largest == "2.00"


def test_a_heat_row_has_each_point_in_one_shade_and_gaps_in_none(db: Database) -> None:
    for at, used in ((0, 0), (1, 19.9), (2, 20), (3, 100), (5, 100), (6, 250)):
        add(db, (at, "gpu:0", used))
    add(db, (4, "cpu", 1))
    (chart,) = (chart for chart in resources.make_charts(db, EXECUTION, 0).charts if chart.kind == "gpu")
    assert chart.lines[0].heat == ["M0 0h2v1h-2z", "M2 0h1v1h-1z", "", "", "M3 0h1v1h-1zM5 0h2v1h-2z"]
