"""A stop in any stage of an execution takes effect within the grace period, keeps outputs and leaves nothing behind."""

from __future__ import annotations

import contextlib
import itertools
import socket
import sqlite3
import time
from collections.abc import Iterator

import pytest
from instance import Checkout, Instance, running, wait_for
from machines import BUSY, DEAF, SERVER_ALONE, Machine, launch, machine, step

pytestmark = [pytest.mark.docker, pytest.mark.redis]

GRACE_S = 3.0  # of SERVER_ALONE
SOON_S = 2.5  # for a stop order to arrive and an ended container to be reported
HANDLER = (
    "trap 'echo saved >/valohai/outputs/checkpoint; echo saved; exit 0' TERM; echo up; while :; do sleep 0.1; done"
)
projects = (f"stop{number}" for number in itertools.count(1))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    with running(tmp_path_factory.mktemp("site"), SERVER_ALONE) as instance:
        yield instance


@pytest.fixture(scope="module")
def runner(site: Instance, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with machine(site, tmp_path_factory.mktemp("machine") / "runner", "stopper") as made:
        wait_for(lambda: made.online)
        yield made


@pytest.fixture
def deaf() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def order(site: Instance, execution: str) -> None:
    site.client.post(f"/executions/{execution}/stop/").raise_for_status()


def stop(site: Instance, execution: str, what: str, within_s: float) -> float:
    """Request a stop and wait; return the seconds until the execution was stopped."""
    began = time.monotonic()
    order(site, execution)
    final = site.wait_final(execution, BUSY * within_s)
    seconds = time.monotonic() - began
    assert final["status"] == "stopped", site.events(execution)
    print(f"{what}: stopped after {seconds:.2f} s (at most {within_s:g} s)")
    return seconds


def test_a_queued_one_is_stopped_at_once_and_never_runs(site: Instance, runner: Machine, checkout: Checkout) -> None:
    busy, waiting = launch(site, checkout, next(projects), step("busy", DEAF), step("waits", "echo never"))
    wait_for(lambda: site.execution(busy)["status"] == "started")
    assert site.execution(waiting)["status"] == "queued"
    stop(site, waiting, "queued", 1)
    order(site, busy)
    order(site, busy)
    site.wait_final(busy)
    assert "never" not in site.events(waiting)


def test_one_that_waits_for_its_projects_quota_is_stopped_at_once(
    site: Instance, runner: Machine, checkout: Checkout
) -> None:
    project = next(projects)
    (first,) = launch(site, checkout, project, step("first", "echo hello"))
    site.wait_final(first)
    with contextlib.closing(sqlite3.connect(site.data / "pushmill.db", timeout=10)) as db, db:
        db.execute("UPDATE project SET max_executions = 1 WHERE name = ?", (project,))
    busy, waiting = launch(site, checkout, project, step("busy", DEAF), step("waits", "echo never"))
    wait_for(lambda: site.execution(busy)["status"] == "started")
    assert site.execution(waiting)["status"] == "created"
    stop(site, waiting, "created", 1)
    order(site, busy)
    order(site, busy)
    site.wait_final(busy)


@pytest.mark.parametrize("stage", ["inputs", "image"])
def test_one_that_is_still_being_prepared_makes_no_container(
    site: Instance, runner: Machine, checkout: Checkout, deaf: int, stage: str
) -> None:
    slow = (
        step("slow", "echo never", inputs=[{"name": "data", "default": f"http://127.0.0.1:{deaf}/data"}])
        if stage == "inputs"
        else step("slow", "echo never", image=f"127.0.0.1:{deaf}/ada/box:1")
    )
    (execution,) = launch(site, checkout, next(projects), slow)
    wait_for(lambda: any("Started on runner" in line for line in site.events(execution, "status")))
    stop(site, execution, stage, SOON_S)
    wait_for(lambda: not runner.leftovers())


def test_a_running_one_may_save_what_it_has(site: Instance, runner: Machine, checkout: Checkout) -> None:
    (execution,) = launch(site, checkout, next(projects), step("saves", HANDLER, "echo never"))
    wait_for(lambda: site.events(execution, "stdout") == ["up"])
    stop(site, execution, "running, with a trap", GRACE_S)
    assert site.events(execution, "stdout") == ["up", "saved"]
    (output,) = site.outputs(execution)
    assert site.download(output["id"]) == b"saved\n"
    wait_for(lambda: not runner.leftovers())


def test_one_that_does_not_listen_is_killed_after_the_grace(
    site: Instance, runner: Machine, checkout: Checkout
) -> None:
    (execution,) = launch(site, checkout, next(projects), step("deaf", DEAF))
    wait_for(lambda: site.events(execution, "stdout") == ["up"])
    assert stop(site, execution, "running, deaf", GRACE_S + SOON_S) > GRACE_S


def test_the_second_stop_does_not_wait_for_the_grace(site: Instance, runner: Machine, checkout: Checkout) -> None:
    (execution,) = launch(site, checkout, next(projects), step("twice", DEAF))
    wait_for(lambda: site.events(execution, "stdout") == ["up"])
    order(site, execution)
    stop(site, execution, "running, deaf, asked twice", SOON_S)


def test_one_that_is_storing_its_outputs_keeps_those_that_are_stored(
    site: Instance, runner: Machine, checkout: Checkout
) -> None:
    many = "i=0; while [ $i -lt 3000 ]; do i=$((i + 1)); echo $i >/valohai/outputs/$i; done"
    (execution,) = launch(site, checkout, next(projects), step("stores", many))
    wait_for(lambda: len(site.outputs(execution)) > 5)
    stop(site, execution, "storing outputs", GRACE_S)
    assert 5 < len(site.outputs(execution)) < 3000
    assert any(line.startswith("Stopped after") for line in site.events(execution, "status"))
    wait_for(lambda: not runner.leftovers())


def test_a_slot_that_is_killed_in_the_grace_does_not_prolong_it_for_ever(
    site: Instance, runner: Machine, checkout: Checkout
) -> None:
    (execution,) = launch(site, checkout, next(projects), step("deaf", DEAF))
    wait_for(lambda: site.events(execution, "stdout") == ["up"])
    began = time.monotonic()
    order(site, execution)
    wait_for(lambda: any("grace" in line for line in site.events(execution, "status")))
    runner.keeper(execution).kill()
    assert site.wait_final(execution, BUSY * (5 + GRACE_S + SOON_S))["status"] == "stopped"
    seconds = time.monotonic() - began
    print(f"slot killed in the grace: stopped after {seconds:.2f} s (at most {5 + GRACE_S + SOON_S:g} s)")
