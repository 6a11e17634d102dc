"""Heads of forks' pull requests are fetched without history and within limits until they are approved."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import by_hand
import pytest
from forge_deliveries import GitHub, Request
from git_over_http import GitServer, served
from instance import Checkout
from made_repository import MadeRepository
from push_server import PushServer, step
from test_git_fetch import fetch_head
from test_pull_requests import FORK, Site

from core import git
from core.config import Size
from core.errors import GitError
from web.config.steps.resolve import resolve
from web.services.repositories import hosting, sources
from web.store import projects
from web.store.db import transaction

MB = 1024**2
HEAD = "refs/pull/7/head"


@pytest.fixture
def made(tmp_path: Path) -> MadeRepository:
    return MadeRepository(tmp_path / "served" / "made.git")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    (tmp_path / "served").mkdir(exist_ok=True)
    with served(tmp_path / "served") as running:
        running.public = "/git/"
        yield running


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    git.init_mirror(tmp_path / "git" / "1.git")
    return tmp_path / "git" / "1.git"


@pytest.fixture
def forks(mirror: Path) -> Path:
    path = mirror.with_name("1.forks.git")
    git.init_forks(path, mirror)
    return path


def disk(path: Path) -> int:
    return sum(file.stat().st_size for file in (path / "objects").rglob("*") if file.is_file())


def test_a_head_comes_alone_and_borrows_what_the_mirror_has(
    mirror: Path, forks: Path, made: MadeRepository, server: GitServer
) -> None:
    url, data = f"{server.url}/git/made.git", os.urandom(MB)
    main = made.commit({"data": data})
    git.fetch(mirror, git.make_remote_source(url, allow_local=False, allow_http=True))
    between = made.commit({"data": os.urandom(MB)}, main, ref=HEAD)
    sha = made.commit({"data": data, "new": b"1"}, between, ref=HEAD)
    fetch_head(forks, url, HEAD, HEAD)
    assert git.resolve(forks, git.to_pinned_ref(HEAD)) == sha
    assert git.read_file(forks, sha, "data", 2 * MB) == data
    assert git.resolve(forks, between) is None
    assert disk(forks) < 100_000
    assert (git.resolve(mirror, sha), (mirror / "shallow").exists(), git.is_shallow(forks)) == (None, False, True)


def test_a_head_is_fetched_without_credentials(forks: Path, made: MadeRepository, server: GitServer) -> None:
    made.commit({"a": b"1"})
    url = f"{server.url}/git/made.git"
    fetch_head(forks, url, "refs/heads/main", HEAD)
    assert server.credentials_seen == set()
    with pytest.raises(GitError, match="gone"):
        fetch_head(forks, url, "refs/heads/gone", HEAD)


def test_one_that_is_too_large_is_aborted_and_leaves_nothing(
    forks: Path, made: MadeRepository, server: GitServer
) -> None:
    for name in ("core.compression", "pack.window"):
        made.git("config", name, "0")  # noise is neither compressed nor compared
    made.commit({f"{number}": os.urandom(MB) for number in range(30)}, ref=HEAD)
    with pytest.raises(git.TooLarge, match="larger than 1,048,576 bytes"):
        fetch_head(forks, f"{server.url}/git/made.git", HEAD, HEAD)
    assert git.resolve(forks, git.to_pinned_ref(HEAD)) is None
    assert disk(forks) < 10_000


def test_all_of_them_together_have_a_bound_that_forgetting_makes_room_in(
    forks: Path, made: MadeRepository, server: GitServer
) -> None:
    url = f"{server.url}/git/made.git"
    for number in (7, 8):
        made.commit({"data": os.urandom(MB // 2)}, ref=f"refs/pull/{number}/head")
    fetch_head(forks, url, HEAD, HEAD, in_all=MB)
    with pytest.raises(git.TooLarge, match="take up more than 524,288 bytes"):
        fetch_head(forks, url, "refs/pull/8/head", "refs/pull/8/head", in_all=MB // 2)
    git.forget_head(forks, HEAD)
    git.forget_head(forks, "refs/pull/99/head")
    assert (disk(forks) < 10_000, git.is_shallow(forks)) == (True, False)
    fetch_head(forks, url, "refs/pull/8/head", "refs/pull/8/head", in_all=MB)


def test_one_that_takes_too_long_is_aborted(forks: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/a.git"
        with pytest.raises(git.TooSlow):
            fetch_head(forks, url, HEAD, HEAD, seconds=1.0)


def test_what_a_killed_fetch_has_left_is_removed_by_the_next(
    forks: Path, made: MadeRepository, server: GitServer
) -> None:
    made.commit({"a": b"1"}, ref=HEAD)
    left = [forks / "objects" / "pack" / name for name in ("tmp_pack_AbCdEf", "pack_git2_123")]
    for file in left:
        file.write_bytes(bytes(MB))
    fetch_head(forks, f"{server.url}/git/made.git", HEAD, HEAD)
    assert [file.exists() for file in left] == [False, False]


# from the delivery on


@pytest.fixture
def site(pushes: PushServer, checkout: Checkout, tmp_path: Path) -> Iterator[Site]:
    with served(tmp_path / "forge") as running:
        yield Site(pushes, checkout, tmp_path / "forge", running, GitHub())


def forks_of(site: Site) -> Path:
    return hosting.get_forks_path(site.pushes.config, projects.get_repository(site.pushes.db, site.repository))


def in_mirror(site: Site, sha: str) -> bool:
    return git.resolve(site.mirror, sha) is not None


def test_a_strangers_large_head_is_refused_and_holds_up_nothing_else(site: Site) -> None:
    site.pushes.with_git(fork_bytes=Size(MB))
    first = site.head(FORK)
    site.ask(first)
    site.checkout.git("config", "core.compression", "0")  # it takes seconds, and noise stays large
    sha = site.checkout.commit({"valohai.yaml": step("train"), "large": os.urandom(8 * MB)}, "large")
    request = site.at(sha, FORK)
    said = site.ask(request, "updated")
    assert "1,048,576 bytes" in said
    assert "fork_bytes" in said
    assert site.pushes.deliveries("model")[-1].state == "failed"
    assert (in_mirror(site, sha), git.resolve(forks_of(site), sha)) == (False, None)
    assert site.waiting() == []  # the one before is no longer the newest
    site.checkout.git("checkout", "-q", "-b", "own", "main")
    own = site.head(number=8, branch="own", message="of ours")
    assert site.ask(own) == "pull request 8: 1 execution"


def test_its_history_comes_with_the_approval_and_paths_are_judged_by_it(site: Site) -> None:
    rule = '[[rule]]\nname = "all"\nevents = ["pull_request"]\npaths = ["data/**"]\n'
    projects.set_rules(site.pushes.db, projects.get_by_name(site.pushes.db, "model").id, rule)
    between = site.checkout.commit({"notes": "x"}, "between")
    request = site.head(FORK)
    assert "waiting for approval" in site.ask(request)  # what it changed cannot be told yet
    assert (in_mirror(site, request.sha), in_mirror(site, between)) == (False, False)
    assert site.approve(request) == 0
    assert in_mirror(site, between)
    assert git.is_ancestor(site.mirror, "main", request.sha)
    assert not git.is_shallow(site.mirror)
    assert "runs only for changes of" in site.of(request.sha)[0].outcome


def test_a_fork_that_is_merged_by_moving_the_branch_leaves_its_history_whole(site: Site) -> None:
    base = site.checkout.git("rev-parse", "main").stdout.strip()
    site.checkout.commit({"notes": "x"}, "between")
    request = site.head(FORK)
    site.ask(request)
    site.checkout.git("push", "-q", str(site.path), f"{request.sha}:refs/heads/main")
    site.push_told(Request(sha=request.sha, branch="main"))
    assert git.is_ancestor(site.mirror, base, request.sha)


def test_a_closed_pull_request_loses_what_was_fetched_of_it(site: Site) -> None:
    request, other = site.head(FORK), site.head(FORK, number=8, branch="other", message="other")
    for one in (request, other):
        site.ask(one)
    forks = forks_of(site)
    assert git.resolve(forks, request.sha)
    site.ask(other, "closed")
    assert (git.resolve(forks, other.sha), git.resolve(forks, request.sha)) == (None, request.sha)
    site.ask(request, "closed")
    assert git.resolve(forks, request.sha) is None
    done = subprocess.run(["git", f"--git-dir={forks}", "count-objects", "-v"], capture_output=True, text=True)
    assert "in-pack: 0" in done.stdout
    assert site.ask(request, "reopened") == "pull request 7: was recorded before"
    assert site.approve(request) == 1


def test_one_that_is_told_before_the_forge_shows_it_is_waited_for(site: Site) -> None:
    first = site.head(FORK)
    site.ask(first)
    sha = site.checkout.commit({"valohai.yaml": step("train")}, "not there yet")
    request = Request(sha=sha, fork=FORK, site=first.site)
    assert site.ask(request, "updated") == f"its head is {first.sha} there, not {sha}"
    assert site.known().sha == first.sha
    site.at(sha, FORK)
    site.pushes.db.conn.execute("UPDATE delivery SET retry_at = NULL")
    site.pushes.db.conn.commit()
    site.pushes.drain()
    assert (site.known().sha, site.waiting()) == (sha, [sha])


def test_a_strangers_commit_gets_no_submodules_and_no_git_lfs_files_before_it_is_approved(site: Site) -> None:
    request = site.head(FORK)
    site.ask(request)
    db = site.pushes.db
    commit, project = site.pushes.commit("model", request.sha), projects.get_by_name(db, "model")
    with transaction(db), by_hand.approved(db, commit, site.admin):
        unapproved = by_hand.execution(
            site.pushes.context, project, commit, resolve(commit.config, "train"), site.admin
        )
    found = sources.ensure_requested(db, unapproved)
    assert (found.state, "before it is approved" in found.missing[0][1]) == ("failed", True)
    site.approve(request)
    assert sources.ensure_requested(db, unapproved).state == "wanted"
