from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from git_over_http import GitServer, served
from made_repository import MadeRepository

from core.errors import ExecutionFailed
from core.states import FailureReason
from runner import checkout

TOKEN = "s3cret-token"


@pytest.fixture
def made(tmp_path: Path) -> MadeRepository:
    repository = MadeRepository(tmp_path / "served" / "demo.git")
    repository.git("config", "uploadpack.allowAnySHA1InWant", "true")
    return repository


@pytest.fixture
def server(made: MadeRepository) -> Iterator[GitServer]:
    with served(made.path.parent) as running:
        yield running


def prepare(cache: Path, server: GitServer, sha: str) -> Path:
    return checkout.prepare(cache, server.url + "/", TOKEN, "demo", sha)


def test_each_commit_has_its_tree_and_is_fetched_once(tmp_path: Path, made: MadeRepository, server: GitServer) -> None:
    first = made.commit({"a": b"1", "d/b": b"x"})
    second = made.commit({"a": b"2"}, first)
    cache = tmp_path / "cache"
    assert prepare(cache, server, first) == cache / "trees/demo" / first
    assert (prepare(cache, server, first) / "d/b").read_bytes() == b"x"
    assert (prepare(cache, server, second) / "a").read_bytes() == b"2"
    assert sorted(path.name for path in (cache / "trees/demo").iterdir()) == sorted([first, second])
    server.shutdown()
    (cache / "git/demo.git").rename(tmp_path / "gone")
    os.utime(cache / "trees/demo" / first, (1, 1))
    assert (prepare(cache, server, first) / "a").read_bytes() == b"1"
    assert time.time() - (cache / "trees/demo" / first).stat().st_mtime < 60


def test_slots_that_prepare_the_same_commit_at_once_agree(
    tmp_path: Path, made: MadeRepository, server: GitServer
) -> None:
    sha = made.commit({f"d{n}/f": b"%d" % n for n in range(40)})
    cache, results = tmp_path / "cache", []
    threads = [threading.Thread(target=lambda: results.append(prepare(cache, server, sha))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [cache / "trees/demo" / sha] * 4
    assert len(list(results[0].rglob("f"))) == 40
    assert [path.name for path in (cache / "trees/demo").iterdir()] == [sha]


def test_a_kill_in_between_leaves_no_half_tree(tmp_path: Path, made: MadeRepository, server: GitServer) -> None:
    sha = made.commit({f"f{n}": bytes(1000) for n in range(1500)})
    cache = tmp_path / "cache"
    trees = cache / "trees/demo"
    killed = multiprocessing.get_context("spawn").Process(target=prepare_from, args=(str(cache), server.url, sha))
    killed.start()
    deadline = time.monotonic() + 60
    while not list(trees.glob(".new-*/f*")):
        assert time.monotonic() < deadline, "the export never began"
    killed.kill()
    killed.join()
    assert not (trees / sha).exists() or len(list((trees / sha).iterdir())) == 1500
    assert len(list(prepare(cache, server, sha).iterdir())) == 1500


def prepare_from(cache: str, url: str, sha: str) -> None:
    checkout.prepare(Path(cache), url, TOKEN, "demo", sha)


def test_what_cannot_be_checked_out_is_our_fault_and_named(
    tmp_path: Path, made: MadeRepository, server: GitServer
) -> None:
    sha = made.commit({"a": b"1"})
    evil = made.commit_tree(made.tree(("100644", b".git", made.blob(b"x"))))
    for project, name, token in (
        ("demo", "f" * 40, TOKEN),
        ("demo", sha, "wrong"),
        ("absent", sha, TOKEN),
        ("demo", evil, TOKEN),
        ("../demo", sha, TOKEN),
        ("demo", "../../../etc", TOKEN),
        ("demo", "--upload-pack=x", TOKEN),
    ):
        with pytest.raises(ExecutionFailed, match=r"cannot be checked out: .") as failed:
            checkout.prepare(tmp_path / "cache", server.url, token, project, name)
        assert failed.value.reason is FailureReason.INTERNAL
        assert TOKEN not in str(failed.value)
    assert not list((tmp_path / "cache").glob("trees/*/*"))
