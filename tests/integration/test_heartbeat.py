"""A runner's heartbeats, and what the runner does with the answers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from runner_server import RunnerServer

from runner.heartbeat import Heartbeat
from runner.server_client import Reporter


@pytest.fixture
def heartbeat(server: RunnerServer, tmp_path: Path) -> Iterator[Heartbeat]:
    reporter = Reporter(server.url, "secret")
    yield Heartbeat(reporter, "gpu-1", tmp_path / "executions")
    reporter.close()


def test_it_names_the_executions_of_its_directory_and_its_clock(
    server: RunnerServer, heartbeat: Heartbeat, tmp_path: Path
) -> None:
    heartbeat.send(2, {"version": "1"})
    (tmp_path / "executions" / "one").mkdir(parents=True)
    server.before = lambda path: (tmp_path / "executions" / "claimed-meanwhile").mkdir() or None
    heartbeat.send(2, {"version": "1"})
    first, second = server.reports
    assert (first["executions"], second["executions"]) == ([], ["one"])
    assert (first["slots"], first["info"]) == (2, {"version": "1"})
    assert abs(first["clock_us"] / 1e6 - time.time()) < 10


def test_the_server_says_when_the_next_one_is_due(server: RunnerServer, heartbeat: Heartbeat) -> None:
    assert heartbeat.due()
    server.orders = {"draining": False, "heartbeat_s": 0.0}
    heartbeat.send(1, {})
    assert heartbeat.due()
    server.orders = {"draining": False, "heartbeat_s": 20.0}
    heartbeat.send(1, {})
    assert not heartbeat.due()


def test_troubles_and_draining_are_said_when_they_come_and_when_they_go(
    server: RunnerServer, heartbeat: Heartbeat, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    for refused in (401, 401, 503, None, None):
        server.before = lambda path, status=refused: status  # type: ignore[misc]
        heartbeat.send(1, {})
    for draining in (True, True, False, False):
        server.orders = {"draining": draining}
        heartbeat.send(1, {})
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 5
    assert said[0].startswith(
        "the server refuses this runner's token: put the one that `pushmill runner rotate-token gpu-1`"
    )
    assert "503" in said[1]
    assert said[2:] == [
        "the server answers again",
        "draining: running executions finish, and no new ones are taken",
        "no longer draining",
    ]


def test_of_a_directory_that_cannot_be_read_nothing_is_reported(
    server: RunnerServer, heartbeat: Heartbeat, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "executions").write_text("no directory")
    heartbeat.send(1, {})
    assert server.reports == []
    assert "Not a directory" in caplog.text
