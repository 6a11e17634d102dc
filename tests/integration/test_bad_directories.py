"""Directories that cannot be removed or adopted do not keep a slot from serving other executions."""

from __future__ import annotations

import logging
import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from runner_host import docker, execute, execution, keeper_process, take_up, until
from runner_server import RunnerServer

from core import trees
from runner import jobs, quarantine
from runner.cleanup import clean
from runner.host import Host
from runner.state_dir import write_json

pytestmark = pytest.mark.docker

NESTED = "import os\nfor _ in range(1500):\n    os.mkdir('d')\n    os.chdir('d')"
NEST = f'cd /valohai/outputs; python3 -c "{NESTED}"; echo nested'


@pytest.fixture(autouse=True)
def nothing_deep_stays(tmp_path: Path) -> Iterator[None]:
    """Whatever the test finds: pytest's own removal of old directories recurses."""
    yield
    trees.remove(tmp_path)


@pytest.fixture
def unremovable() -> Iterator[list[Path]]:
    """Directories on which a file system is mounted: even root cannot remove them."""
    places: list[Path] = []
    yield places
    for place in places:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def mounted(path: Path) -> Path:
    path.mkdir(parents=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(path)], check=False)
    if done.returncode:
        pytest.skip("nothing can be mounted here")
    return path


def stale(host: Host, name: str = "") -> Path:
    """A directory of which nothing can be taken up."""
    directory = host.executions / (name or str(uuid.uuid4()))
    directory.mkdir(parents=True)
    write_json(directory / "state.json", {"attempt": 1, "claimed_at": 0})
    return directory


def test_1500_nested_directories_are_removed_with_their_execution(server: RunnerServer, host: Host) -> None:
    recorded = server.add(execution(NEST))
    execute(host, recorded.spec.uuid, 1)
    assert recorded.lines() == ["nested"]
    assert recorded.final["state"] == "complete"
    assert os.listdir(host.executions) == []
    assert quarantine.list_problems(host.directory) == []


def test_1500_nested_directories_that_a_killed_keeper_left_do_not_keep_the_next_slot(
    server: RunnerServer, host: Host
) -> None:
    recorded = server.add(execution(NEST, "sleep 100"))
    with keeper_process(host, recorded.spec.uuid):
        until(lambda: recorded.lines() == ["nested"])
    recorded.given_away = True
    take_up(host)
    assert os.listdir(host.executions) == []
    after = server.add(execution("echo served"))
    execute(host, after.spec.uuid, 1)
    assert after.lines() == ["served"]


@pytest.mark.root
def test_what_resists_is_moved_aside_reported_and_removed_when_it_can_be(
    server: RunnerServer, host: Host, unremovable: list[Path]
) -> None:
    directory = stale(host)
    mounted(directory / "outputs" / "mounted")
    (directory / "outputs" / "plain").write_text("x")
    take_up(host)
    assert os.listdir(host.executions) == []
    [kept] = (host.directory / "quarantine").iterdir()
    unremovable.append(kept / "outputs" / "mounted")
    assert kept.name.startswith(f"{directory.name}.")
    assert not (kept / "outputs" / "plain").exists()
    [problem] = quarantine.list_problems(host.directory)
    assert problem.startswith("1 directory of executions could not be removed: ")
    clean(host)
    assert kept.exists()
    subprocess.run(["umount", str(unremovable.pop())], check=True)
    clean(host)
    assert quarantine.list_problems(host.directory) == []


@pytest.mark.root
def test_the_quarantine_has_a_bound(host: Host, unremovable: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quarantine, "MOST", 1)
    first, second = stale(host, "a"), stale(host, "b")
    mounted(first / "m")
    unremovable.append(mounted(second / "m"))
    take_up(host)
    [kept] = (host.directory / "quarantine").iterdir()
    unremovable.append(kept / "m")
    assert os.listdir(host.executions) == ["b"]
    assert quarantine.list_problems(host.directory)[0].endswith("; no more fit there")


def test_an_execution_that_cannot_be_adopted_is_moved_aside_and_the_others_are_served(
    server: RunnerServer, host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    recorded, broken = server.add(execution("echo up; sleep 1; echo done")), server.add(execution("echo b; sleep 100"))
    with keeper_process(host, broken.spec.uuid), keeper_process(host, recorded.spec.uuid):
        until(lambda: recorded.lines() == ["up"] and broken.lines() == ["b"])
    (host.executions / broken.spec.uuid / "state.json").write_text('["what a failing disk makes of it"]')
    with caplog.at_level(logging.ERROR):
        take_up(host)
    assert recorded.final["state"] == "complete"
    assert os.listdir(host.executions) == []
    assert docker("ps", "--quiet", "--filter", f"label=pushmill.execution={broken.spec.uuid}") == ""
    assert "TypeError" in caplog.text
    assert quarantine.list_problems(host.directory)
    clean(host)
    assert quarantine.list_problems(host.directory) == []


def test_an_execution_that_cannot_be_adopted_is_not_run_a_second_time(server: RunnerServer, host: Host) -> None:
    broken = server.add(execution("echo up; sleep 100"))
    with keeper_process(host, broken.spec.uuid):
        until(lambda: broken.lines() == ["up"])
    (host.executions / broken.spec.uuid / "state.json").write_text("[1]")
    jobs.bind(host)
    jobs.execute(broken.spec.uuid, 1)
    assert broken.final == {}
    assert broken.lines() == ["up"]
    assert os.listdir(host.executions) == []


@pytest.mark.root
def test_what_is_mounted_below_a_directory_is_left_alone(tmp_path: Path) -> None:
    place = mounted(tmp_path / "top" / "mounted")
    try:
        (place / "data").write_text("of somebody else")
        assert not trees.remove(tmp_path / "top")
        assert (place / "data").read_text() == "of somebody else"
    finally:
        subprocess.run(["umount", str(place)], check=True)
    assert trees.remove(tmp_path / "top")
