"""What the cleanup of a runner removes, and what it never touches."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from docker_registry import registry
from git_over_http import served
from made_repository import MadeRepository
from runner_host import BUSYBOX, COMMIT, IMAGE, docker, execute, executing, execution, runner_host, until
from runner_server import RunnerServer

from core.config import Seconds, Size
from core.locks import hold
from runner import checkout
from runner.cleanup import clean
from runner.containers import images
from runner.host import Host

pytestmark = pytest.mark.docker

TOKEN = "s3cret-token"
DAY = 86_400
KB = 4096  # what a small file takes on disk


def with_settings(host: Host, **settings: Any) -> Host:
    return replace(host, settings=replace(host.settings, **settings))


def age(path: Path, days: float) -> None:
    when = time.time() - days * DAY
    os.utime(path, (when, when))


def made(name: str, *arguments: str) -> str:
    return docker("create", "--name", name, *arguments, BUSYBOX, "true")


@pytest.fixture
def names() -> Iterator[list[str]]:
    """A list of names; containers with these names are removed afterwards."""
    names: list[str] = []
    yield names
    for name in names:
        subprocess.run(["docker", "rm", "--force", "--volumes", name], capture_output=True, check=False)


def labels(runner: str, execution_uuid: str) -> list[str]:
    values = (f"pushmill.runner={runner}", f"pushmill.execution={execution_uuid}", "pushmill.attempt=1")
    return [part for value in values for part in ("--label", value)]


def there(name: str) -> bool:
    return bool(docker("ps", "--all", "--quiet", "--filter", f"name=^{name}$"))


def test_containers_of_which_no_directory_tells_are_removed_and_no_others(host: Host, names: list[str]) -> None:
    gone, kept, other = (str(uuid.uuid4()) for _ in range(3))
    mine, just_made, neighbours, strangers = names[:] = [
        f"pushmill-{gone}-1",
        f"pushmill-{kept}-1",
        f"pushmill-{other}-1",
        f"pushmill-{uuid.uuid4()}-1",
    ]
    (host.executions / kept).mkdir(parents=True)  # its slot has not come to write container.json
    made(mine, *labels(host.runner_id, gone))
    made(just_made, *labels(host.runner_id, kept))
    made(neighbours, *labels(f"{host.runner_id}2", other))
    made(strangers, "--label", "pushmill.managed=true")
    clean(host)
    assert [there(name) for name in names] == [False, True, True, True]


def test_volumes_that_somebody_separated_from_their_container_are_removed_and_no_others(host: Host) -> None:
    mine = docker("volume", "create", "--label", f"pushmill.runner={host.runner_id}")
    neighbours = docker("volume", "create", "--label", f"pushmill.runner={host.runner_id}2")
    strangers = docker("volume", "create")
    try:
        clean(host)
        left = docker("volume", "ls", "--quiet").split()
        assert [name in left for name in (mine, neighbours, strangers)] == [False, True, True]
    finally:
        docker("volume", "rm", neighbours, strangers)


def test_one_process_cleans_up_at_a_time(host: Host) -> None:
    path = tree(host, "b", 30)
    with hold(host.directory / "cleanup.lock"):
        clean(host)
        assert path.exists()
    clean(host)
    assert not path.exists()


def tree(host: Host, name: str, days: float, project: str = "demo") -> Path:
    path = host.cache / "trees" / project / (name * 40)
    path.mkdir(parents=True)
    (path / "file").write_bytes(b"x" * KB)
    age(path, days)
    return path


def repository(host: Host, name: str, days: float) -> Path:
    path = host.cache / "git" / f"{name}.git"
    path.mkdir(parents=True)
    (path / "pack").write_bytes(b"x" * KB)
    age(path, days)
    return path


def cached_input(host: Host, name: str, days: float) -> Path:
    path = host.cache / "inputs" / f"{name * 64}.data"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * KB)
    age(path, days)
    path.with_name(f"of-{name}.json").write_text(json.dumps({"sha256": name * 64}))
    return path


def test_past_the_budget_the_longest_unused_go_whatever_they_are(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    shutil.rmtree(host.cache)
    oldest_first = [
        tree(host, "b", 9),
        cached_input(host, "c", 8),
        repository(host, "demo", 7),
        tree(host, "d", 6, project="other"),
        cached_input(host, "e", 5),
        repository(host, "other", 4),
    ]
    with caplog.at_level(logging.INFO, "runner.cleanup"):
        clean(with_settings(host, cache=Size(3 * KB)))
    assert [path.exists() for path in oldest_first] == [False, False, False, True, True, True]
    assert [path.name for path in (host.cache / "inputs").glob("*.json")] == ["of-e.json"]
    assert caplog.messages == ["cleanup removed commits (1), inputs (1), git caches (1): 12.0 KiB"]
    caplog.clear()
    clean(with_settings(host, cache=Size(3 * KB)))
    assert caplog.messages == []


def test_what_was_not_used_for_too_long_goes_though_there_is_room(host: Host) -> None:
    shutil.rmtree(host.cache)
    paths = [tree(host, "b", 15), tree(host, "c", 13), cached_input(host, "d", 15), repository(host, "demo", 15)]
    clean(host)
    assert [path.exists() for path in paths] == [False, True, False, False]


def test_a_tree_is_measured_once(host: Host) -> None:
    shutil.rmtree(host.cache)
    measured, later = tree(host, "b", 2), tree(host, "c", 1)
    clean(host)
    (later / "grown").write_bytes(bytes(100 * KB))  # which no tree does
    clean(with_settings(host, cache=Size(2 * KB)))
    assert measured.exists()
    assert later.exists()


def test_a_tree_below_a_running_container_stays_and_goes_after_it(server: RunnerServer, host: Host) -> None:
    greedy = with_settings(host, cache=Size(0), cache_age=Seconds(0))
    path = host.cache / "trees" / "demo" / COMMIT
    recorded = server.add(execution("echo up; while [ ! -e /valohai/outputs/go ]; do sleep 0.05; done; cat train.py"))
    with executing(host, recorded.spec):
        until(lambda: recorded.lines() == ["up"])
        clean(greedy)
        assert path.exists()
        mark = host.executions / recorded.spec.uuid / "tree"
        mark.unlink()  # as if the directory had gone and Docker had not let go of the container
        clean(greedy)
        assert path.exists()
        (host.executions / recorded.spec.uuid / "outputs" / "go").touch()
    assert recorded.lines() == ["up", "print('trained')"]
    clean(greedy)
    assert not path.exists()


def use_again_and_again(directory: str, url: str, sha: str, rounds: int, results: Any) -> None:
    """What an execution does with its tree, many times; tells how often the tree was there, and how often it was whole."""
    cache, whole, found = Path(directory, "cache"), 0, 0
    for _ in range(rounds):
        mine = Path(directory, "executions", str(uuid.uuid4()))
        mine.mkdir(parents=True)
        path = checkout.get_tree_path(cache, "demo", sha)
        checkout.mark_used(cache, path, mine / "tree")
        found += path.exists()
        checkout.prepare(cache, url, TOKEN, "demo", sha)
        looks = [(path / "a").exists() and (path / "d/b").exists() for _ in range(200)]
        whole += all(looks)
        shutil.rmtree(mine)
    results.put((whole, found))


def test_executions_that_start_while_the_cache_is_emptied_keep_their_tree(host: Host, tmp_path: Path) -> None:
    repository = MadeRepository(tmp_path / "served" / "demo.git")
    repository.git("config", "uploadpack.allowAnySHA1InWant", "true")
    sha = repository.commit({"a": b"1", "d/b": b"2"})
    greedy = with_settings(host, cache=Size(0), cache_age=Seconds(0))
    spawn, rounds = multiprocessing.get_context("spawn"), 25
    results, passes = spawn.Queue(), 0
    with served(repository.path.parent) as server:
        arguments = (str(host.directory), server.url, sha, rounds, results)
        users = [spawn.Process(target=use_again_and_again, args=arguments) for _ in range(3)]
        for user in users:
            user.start()
        while any(user.is_alive() for user in users):
            clean(greedy)
            passes += 1
    told = [results.get(timeout=10) for _ in users]
    assert [whole for whole, _ in told] == [rounds] * 3
    assert sum(found for _, found in told) < 3 * rounds  # else nothing was ever removed
    assert passes > 10


def test_half_trees_go_when_nobody_writes_them(host: Host) -> None:
    half = host.cache / "trees" / "demo" / ".new-x"
    (half / "d").mkdir(parents=True)
    with hold(checkout.get_repository_lock_path(host.cache, "demo"), shared=True):
        clean(host)
        assert half.exists()
    clean(host)
    assert not half.exists()
    assert (host.cache / "trees" / "demo" / COMMIT).exists()


def test_a_repository_stays_while_somebody_fetches_into_it(host: Host) -> None:
    path = repository(host, "demo", 30)
    with hold(checkout.get_repository_lock_path(host.cache, "demo"), shared=True):
        clean(host)
        assert path.exists()
    clean(host)
    assert not path.exists()


def test_old_left_overs_go_and_young_ones_stay(host: Host) -> None:
    old, young = (host.cache / "inputs" / name for name in ("new-old", "new-young"))
    old.parent.mkdir(parents=True)
    old.touch()
    young.touch()
    age(old, 2)
    gone, waiting, just_made = (host.executions / name for name in ("gone", "waiting", "just-made"))
    for directory in (gone, waiting, just_made):
        (directory / "spool").mkdir(parents=True)
    (waiting / "state.json").write_text('{"attempt": 1, "claimed_at": 0}')
    age(gone, 1)
    age(waiting, 1)
    aside = host.cache / "gone" / "x"
    aside.mkdir(parents=True)
    clean(host)
    paths = [old, young, gone, waiting, just_made, aside]
    assert [path.exists() for path in paths] == [False, True, False, True, True, False]


def test_a_part_that_fails_does_not_keep_the_others(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    (host.cache / "sizes.json").mkdir()  # in the way
    aside = host.cache / "gone"
    aside.mkdir()
    clean(host)
    assert not aside.exists()
    assert "cleanup: files" in caplog.messages


@pytest.fixture
def pulled(host: Host, tmp_path: Path) -> Iterator[str]:
    """The name of an image in a registry, with a content of its own."""
    with registry(tmp_path) as address:
        name = f"{address}/ada/box:1"
        container = docker("run", "--detach", "--network", "none", BUSYBOX, "sh", "-c", f"echo {uuid.uuid4()} >/unique")
        docker("wait", container)
        docker("commit", container, name)
        docker("rm", container)
        docker("push", name)
        docker("rmi", name)
        yield name
        subprocess.run(["docker", "rmi", name, "pushmill-test-tag"], capture_output=True, check=False)


def image_there(name: str) -> bool:
    return bool(docker("images", "--quiet", name))


def unused_for(host: Host, days: float) -> None:
    with images.recorded_images(host.directory) as known:
        for entry in known.values():
            entry["used_at"] = time.time() - days * DAY


def run(server: RunnerServer, host: Host, image: str) -> None:
    recorded = server.add(execution("true", image=image))
    execute(host, recorded.spec.uuid, 1)
    assert recorded.final["state"] == "complete", recorded.final


def test_an_image_that_this_runner_pulled_goes_when_unused_for_long(
    server: RunnerServer, host: Host, pulled: str, names: list[str]
) -> None:
    run(server, host, pulled)
    unused_for(host, 29)
    clean(host)
    assert image_there(pulled)
    unused_for(host, 31)
    run(server, host, pulled)  # a use counts
    clean(host)
    assert image_there(pulled)
    unused_for(host, 31)
    names.append(f"pushmill-test-{uuid.uuid4()}")
    docker("create", "--name", names[0], pulled, "true")
    clean(host)
    assert image_there(pulled)
    docker("rm", names[0])
    unused_for(host, 31)
    clean(with_settings(host, image_age=Seconds(0)))
    assert image_there(pulled)
    clean(host)
    assert not image_there(pulled)
    run(server, host, pulled)  # it comes again


def test_an_image_that_was_here_before_this_runner_pulled_it_stays(
    server: RunnerServer, host: Host, pulled: str
) -> None:
    docker("pull", pulled)
    image_id, digest = docker("inspect", "--format", "{{.Id}} {{index .RepoDigests 0}}", pulled).split()
    docker("rmi", pulled)
    docker("pull", digest)  # without a tag nothing but our memory tells whose it is
    recorded = server.add(execution("true", image=digest, pull="always"))
    execute(host, recorded.spec.uuid, 1)
    assert f"Pulled image {digest} in " in "\n".join(recorded.lines("status"))
    unused_for(host, 31)
    clean(host)
    assert image_id in docker("images", "--all", "--quiet", "--no-trunc")
    docker("rmi", image_id)


def test_an_image_that_somebody_tagged_is_theirs_too(server: RunnerServer, host: Host, pulled: str) -> None:
    run(server, host, pulled)
    docker("tag", pulled, "pushmill-test-tag")
    unused_for(host, 31)
    clean(host)
    assert image_there("pushmill-test-tag")
    assert image_there(pulled)


def test_images_that_nobody_pulled_stay(server: RunnerServer, host: Host) -> None:
    run(server, host, BUSYBOX)
    clean(with_settings(host, image_age=Seconds(0.001)))
    assert image_there(BUSYBOX)
    assert image_there(IMAGE)


def test_without_room_the_longest_unused_go_first_and_then_the_execution_runs(
    server: RunnerServer, small_disk: Path
) -> None:
    with runner_host(small_disk / "runner", server.url, min_free_disk=Size(40 * 1024 * 1024)) as host:
        old, young = cached_input(host, "a", 2), cached_input(host, "b", 1)
        for path, days in ((old, 2), (young, 1)):
            path.write_bytes(bytes(15 * 1024 * 1024))
            age(path, days)
        age(host.cache / "trees" / "demo" / COMMIT, 0)
        recorded = server.add(execution("cat train.py"))
        execute(host, recorded.spec.uuid, 1)
        assert recorded.final["state"] == "complete", recorded.final
        assert (old.exists(), young.exists()) == (False, True)
