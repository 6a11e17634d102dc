from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from git_over_http import GitServer, served
from instance import wait_for
from made_repository import MadeRepository

from core import git
from core.errors import GitError
from core.git import command

TOKEN = "s3cret-token"


@pytest.fixture
def made(tmp_path: Path) -> MadeRepository:
    repository = MadeRepository(tmp_path / "served" / "made.git")
    repository.git("config", "uploadpack.allowAnySHA1InWant", "true")
    return repository


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    git.init_mirror(tmp_path / "mirror.git")
    return tmp_path / "mirror.git"


@pytest.fixture
def server(made: MadeRepository) -> Iterator[GitServer]:
    with served(made.path.parent) as running:
        yield running


def fetch(mirror: Path, made: MadeRepository, *shas: str) -> None:
    git.fetch(mirror, git.make_remote_source(str(made.path), allow_local=True, allow_http=False), shas=shas)


def fetch_head(
    path: Path, url: str, ref: str, kept_as: str, *, most: int = 1024**2, in_all: int = 1024**3, seconds: float = 60.0
) -> None:
    """As that of a pull request from a fork."""
    source = git.make_fork_source(url, allow_http=True, time_limit_s=seconds)
    git.fetch_head(path, source, ref, kept_as=kept_as, bounds=git.Bounds(bytes=most, all_bytes=in_all))


def test_a_mirror_follows_new_moved_and_deleted_refs_and_keeps_its_pins(mirror: Path, made: MadeRepository) -> None:
    first = made.commit({"a": b"1"})
    made.git("branch", "topic")
    made.git("tag", "-a", "-m", "t", "v1")
    fetch(mirror, made)
    assert git.list_refs(mirror) == git.list_refs(made.path)
    git.find_commit(mirror, first, pin=True)
    second = made.commit({"a": b"2"})  # no parent: a forced push
    made.git("branch", "-D", "topic")
    made.git("branch", "topic/below", second)
    made.git("tag", "-d", "v1")
    made.git("tag", "v2", second)
    fetch(mirror, made)
    assert (
        git.list_refs(mirror)
        == git.list_refs(made.path)
        == {
            "refs/heads/main": (second,),
            "refs/heads/topic/below": (second,),
            "refs/tags/v2": (second,),
        }
    )
    assert git.resolve(mirror, f"refs/pushmill/{first}") == first
    made.git("branch", "-D", "topic/below")
    made.git("tag", "-d", "v2")
    fetch(mirror, made)
    assert git.list_refs(mirror) == {"refs/heads/main": (second,)}
    assert git.resolve(mirror, f"refs/pushmill/{first}") == first


def test_a_commit_that_no_ref_names_any_more_is_fetched_by_name_and_pinned(mirror: Path, made: MadeRepository) -> None:
    fetch(mirror, made)  # an empty remote is none to complain about
    gone = made.commit({"a": b"1"})
    tip = made.commit({"a": b"2"})
    fetch(mirror, made, gone, tip, "f" * 40)
    assert git.resolve(mirror, gone) == git.resolve(mirror, f"refs/pushmill/{gone}") == gone
    assert git.resolve(mirror, "f" * 40) is None


def test_branches_and_the_head_of_a_pull_request_come_in_one_request(
    mirror: Path, made: MadeRepository, server: GitServer
) -> None:
    main = made.commit({"a": b"1"})
    head = made.commit({"a": b"2"}, main, ref="refs/pull/7/head")
    server.public = "/git/"
    source = git.make_remote_source(f"{server.url}/git/made.git", allow_local=False, allow_http=True)
    git.fetch(mirror, source, more=["refs/pull/7/head"])
    assert git.resolve(mirror, git.to_pinned_ref("refs/pull/7/head")) == head
    assert len([path for _, path in server.requests if path.endswith("info/refs?service=git-upload-pack")]) == 1


def test_many_fetches_leave_few_packs(mirror: Path, made: MadeRepository) -> None:
    shas = []
    for number in range(56):
        shas.append(made.commit({"a": b"%d" % number}))
        fetch(mirror, made)
        git.find_commit(mirror, shas[-1], pin=True)
    assert len(list((mirror / "objects/pack").glob("*.pack"))) < 20
    assert [git.read_file(mirror, sha, "a", 9) for sha in shas] == [b"%d" % number for number in range(56)]


def test_locks_left_by_a_killed_fetch_do_not_block_the_next(mirror: Path, made: MadeRepository) -> None:
    sha = made.commit({"a": b"1"})
    for name in ("shallow.lock", "packed-refs.lock", "refs/heads/main.lock"):
        lock = mirror / name
        lock.parent.mkdir(parents=True, exist_ok=True)
        lock.touch()
        os.utime(lock, (1, 1))
    fetch(mirror, made)
    assert git.resolve(mirror, "main") == sha


@pytest.mark.parametrize("name", ["config", "hooks/post-checkout", "hooks/reference-transaction"])
def test_nothing_that_a_fetched_or_fetching_repository_says_is_run(
    mirror: Path, made: MadeRepository, tmp_path: Path, name: str
) -> None:
    made.commit({"a": b"1"})
    owned = tmp_path / "owned"
    script = tmp_path / "script"
    script.write_text(f"#!/bin/sh\ntouch {owned}\n")
    script.chmod(0o755)
    for repository in (mirror, made.path):
        file = repository / name
        file.parent.mkdir(exist_ok=True)
        if name == "config":
            with file.open("a") as opened:
                opened.write(f"[core]\n\tfsmonitor = {script}\n\thooksPath = {tmp_path}\n\tsshCommand = {script}\n")
                opened.write(f"[uploadpack]\n\tpackObjectsHook = {script}\n")
        else:
            file.symlink_to(script)
    fetch(mirror, made)
    assert git.resolve(mirror, "main") is not None
    assert not owned.exists()


def test_a_hostile_url_runs_nothing(mirror: Path, tmp_path: Path) -> None:
    owned = tmp_path / "owned"
    for url in (f"ext::sh -c touch% {owned}", f"--upload-pack=touch {owned}", f"file://{tmp_path}/mirror.git"):
        with pytest.raises(GitError, match="cannot be fetched"):
            git.fetch(mirror, git.make_remote_source(url, allow_local=False, allow_http=True))
    with pytest.raises(GitError, match="not allowed"):  # were one let through, git itself would refuse
        command.run(
            ["fetch", f"ext::sh -c touch% {owned}"],
            repository=mirror,
            time_limit_s=10,
            environment=command.allow_transport("https"),
        )
    assert not owned.exists()


@pytest.mark.parametrize("by", ["token", "url"])
def test_over_http_the_token_opens_and_is_in_no_file(
    mirror: Path, made: MadeRepository, server: GitServer, by: str
) -> None:
    host = server.url.removeprefix("http://")
    urls = {"token": f"http://runner@{host}/git/made.git", "url": f"http://runner:{TOKEN}@{host}/git/made.git"}
    for content in (b"1", b"2"):  # into an empty mirror, and into a filled one
        sha = made.commit({"a": content})
        token = TOKEN if by == "token" else None
        git.fetch(
            mirror, git.make_remote_source(urls[by], git.Login(password=token), allow_local=False, allow_http=True)
        )
        assert git.resolve(mirror, "main") == sha
    assert not [file for file in mirror.rglob("*") if file.is_file() and TOKEN.encode() in file.read_bytes()]


def test_wrong_credentials_are_an_error_that_shows_none(mirror: Path, made: MadeRepository, server: GitServer) -> None:
    sha = made.commit({"a": b"1"})
    host = server.url.removeprefix("http://")
    for _ in ("into an empty mirror", "into a filled one"):
        for url, token in (
            (f"http://ada:wrong-one@{host}/git/made.git", None),
            (f"{server.url}/git/made.git", "wrong-one"),
        ):
            with pytest.raises(GitError) as failed:
                git.fetch(
                    mirror, git.make_remote_source(url, git.Login(password=token), allow_local=False, allow_http=True)
                )
            assert "wrong-one" not in str(failed.value)
            assert f"http://{host}/git/made.git" in str(failed.value)
        git.fetch_commit(mirror, f"{server.url}/git/made.git", sha, username="runner", password=TOKEN)
        MadeRepository(mirror).git("update-ref", "refs/heads/main", sha)


def test_a_redirect_is_not_followed(mirror: Path, made: MadeRepository, server: GitServer) -> None:
    sha = made.commit({"a": b"1"})
    with served(made.path.parent) as other:
        for _ in ("into an empty mirror", "into a filled one"):
            server.redirect = other.url.replace("127.0.0.1", "localhost")
            for ask in (git.fetch, git.list_remote_refs):
                url, login = f"{server.url}/git/made.git", git.Login(password=TOKEN)
                with pytest.raises(GitError, match="it has moved to http://localhost:"):
                    ask(mirror, git.make_remote_source(url, login, allow_local=False, allow_http=True))
            assert other.requests == []
            server.redirect = None
            git.fetch_commit(mirror, f"{server.url}/git/made.git", sha, username="runner", password=TOKEN)
            MadeRepository(mirror).git("update-ref", "refs/heads/main", sha)


@pytest.mark.parametrize("place", ["", "{url}"], ids=["relative", "absolute"])
def test_a_renamed_repository_is_not_followed_on_the_same_host_either(
    mirror: Path, made: MadeRepository, server: GitServer, place: str
) -> None:
    url, sha = f"{server.url}/git/old.git", made.commit({"a": b"1"})
    server.moved = {"/git/old.git": f"{place.format(url=server.url)}/git/made.git"}
    for _ in ("into an empty mirror", "into a filled one"):
        for ask in (git.fetch, git.list_remote_refs):
            with pytest.raises(GitError) as failed:
                ask(mirror, git.make_remote_source(url, git.Login(password=TOKEN), allow_local=False, allow_http=True))
            assert f"it has moved to {server.url}/git/made.git" in str(failed.value)
            assert f"`pushmill project set-url NAME {server.url}/git/made.git`" in str(failed.value)
            assert TOKEN not in str(failed.value)
        assert {path.split("/")[2] for _, path in server.requests} == {"old.git"}
        git.fetch_commit(mirror, f"{server.url}/git/made.git", sha, username="runner", password=TOKEN)
        MadeRepository(mirror).git("update-ref", "refs/heads/main", sha)
        server.requests.clear()


def test_the_machine_s_git_configuration_and_netrc_play_no_part(
    mirror: Path, made: MadeRepository, server: GitServer, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / ".netrc").write_text(f"machine 127.0.0.1 login runner password {TOKEN}\n")
    (home / ".gitconfig").write_text(f'[url "{made.path}"]\n\tinsteadOf = {server.url}/git/absent.git\n')
    program = (
        "import sys; from pathlib import Path; from core import git; from core.errors import GitError\n"
        "for url in sys.argv[2:]:\n"
        "    try: git.fetch(Path(sys.argv[1]), git.make_remote_source(url, allow_local=False, allow_http=True))\n"
        "    except GitError: print('refused')\n"
    )
    made.commit({"a": b"1"})
    for _ in ("into an empty mirror", "into a filled one"):
        urls = [f"{server.url}/git/made.git", f"{server.url}/git/absent.git"]
        arguments = [sys.executable, "-c", program, str(mirror), *urls]
        done = subprocess.run(
            arguments, env={**os.environ, "HOME": str(home)}, capture_output=True, text=True, check=True
        )
        assert done.stdout == "refused\nrefused\n"
        fetch(mirror, made)


def list_commands() -> str:
    """Return the command lines of all processes."""
    return subprocess.run(["ps", "-ewwo", "args"], capture_output=True, text=True, check=True).stdout


def test_a_silent_server_costs_the_time_limit_and_no_process_stays(mirror: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/a.git"
        with pytest.raises(GitError, match="took longer than 1 s"):
            git.fetch(mirror, git.make_remote_source(url, allow_local=False, allow_http=True, time_limit_s=1.0))
        wait_for(lambda: url not in list_commands())  # git's own child ends a moment after git


def test_git_ends_with_the_process_that_fetches(mirror: Path) -> None:
    code = (
        "import pathlib, sys; from core import git;"
        "git.fetch(pathlib.Path(sys.argv[1]), git.make_remote_source(sys.argv[2], allow_local=False, allow_http=True))"
    )
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/a.git"
        with subprocess.Popen([sys.executable, "-c", code, str(mirror), url]) as fetching:
            wait_for(lambda: "git-remote-http" in list_commands() and list_commands().count(url) >= 3)
            fetching.kill()
        wait_for(lambda: url not in list_commands(), 30)  # git itself gives up after 60 s


def test_an_ssh_key_is_private_used_alone_and_gone_afterwards(tmp_path: Path) -> None:
    with command.ssh_environment(
        b"-----BEGIN KEY-----\r\nx\r\n-----END KEY-----", tmp_path / "known hosts"
    ) as environment:
        words = environment["GIT_SSH_COMMAND"].split()
        key = Path(words[words.index("-i") + 1])
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        assert stat.S_IMODE(key.parent.stat().st_mode) == 0o700
        assert key.read_bytes() == b"-----BEGIN KEY-----\nx\n-----END KEY-----\n"
        for option in ("IdentitiesOnly=yes", "StrictHostKeyChecking=accept-new", "BatchMode=yes"):
            assert option in words
        understood = subprocess.run(
            ["sh", "-c", environment["GIT_SSH_COMMAND"] + " -G host"], capture_output=True, text=True, check=True
        ).stdout
        assert f"userknownhostsfile {tmp_path}/known hosts" in understood
    assert not key.parent.exists()


def test_a_commit_is_fetched_from_our_server_by_name_without_history(
    mirror: Path, made: MadeRepository, server: GitServer
) -> None:
    first = made.commit({"a": b"1"})
    second = made.commit({"a": b"2"}, first)
    orphan = made.commit({"a": b"3"})
    url = f"{server.url}/git/made.git"
    for sha in (second, orphan, second):
        git.fetch_commit(mirror, url, sha, username="runner", password=TOKEN)
    assert git.read_file(mirror, second, "a", 9) == b"2"
    assert git.read_file(mirror, orphan, "a", 9) == b"3"
    assert git.resolve(mirror, first) is None
    asked = len(server.requests)
    git.fetch_commit(mirror, url, orphan, username="runner", password="not needed any more")
    assert len(server.requests) == asked
    for sha, password in (("f" * 40, TOKEN), (first, "wrong"), ("--upload-pack=x", TOKEN)):
        with pytest.raises(GitError):
            git.fetch_commit(mirror, url, sha, username="runner", password=password)


def test_two_slots_fetch_the_same_commit_at_once(mirror: Path, made: MadeRepository, server: GitServer) -> None:
    sha = made.commit({"a": b"1"})
    errors: list[Exception] = []

    def work() -> None:
        try:
            git.fetch_commit(mirror, f"{server.url}/git/made.git", sha, username="runner", password=TOKEN)
        except GitError as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len([path for _, path in server.requests if path.endswith("git-upload-pack")]) <= 2


def test_a_ref_that_is_no_branch_is_kept_apart_and_may_be_missing(mirror: Path, made: MadeRepository) -> None:
    main = made.commit({"a": b"1"})
    head = made.commit({"a": b"2"}, main, ref="refs/pull/7/head")
    more = ["refs/pull/7/head", "refs/pull/8/head"]
    for _ in ("into an empty mirror", "into a filled one"):
        git.fetch(mirror, git.make_remote_source(str(made.path), allow_local=True, allow_http=False), more=more)
        assert git.list_refs(mirror) == {"refs/heads/main": (main,)}
        assert (
            git.resolve(mirror, "refs/pushmill/pull/7/head") == git.resolve(mirror, git.to_pinned_ref(more[0])) == head
        )
        assert git.resolve(mirror, git.to_pinned_ref(more[1])) is None
    moved = made.commit({"a": b"3"}, ref="refs/pull/7/head")  # forced
    git.fetch(mirror, git.make_remote_source(str(made.path), allow_local=True, allow_http=False), more=more)
    assert git.resolve(mirror, git.to_pinned_ref(more[0])) == moved


@pytest.mark.parametrize(
    "ref", ["refs/pull/7/head:refs/heads/main", "+refs/x", "refs/*", "--upload-pack=x", "main", ""]
)
def test_what_is_no_ref_is_not_fetched(mirror: Path, made: MadeRepository, server: GitServer, ref: str) -> None:
    made.commit({"a": b"1"})
    with pytest.raises(GitError, match="not a ref that git accepts"):
        git.fetch(mirror, git.make_remote_source(str(made.path), allow_local=True, allow_http=False), more=[ref])
    server.public = "/git/"
    for refs in ((ref, "refs/pull/7/head"), ("refs/heads/main", ref)):
        with pytest.raises(GitError, match="not a ref that git accepts"):
            fetch_head(mirror, f"{server.url}/git/made.git", refs[0], refs[1])
    assert git.list_refs(mirror) == {}


@pytest.mark.parametrize(
    "url",
    [
        "ssh://git@{host}/made.git", "git@{host}:made.git", "http://runner:s3cret-token@{host}/git/made.git",
        "http://runner@{host}/git/made.git", "file:///{path}", "{path}", "ext::sh -c true",
    ],
)  # fmt: skip
def test_a_fork_is_fetched_over_http_alone_and_by_nobodys_name(
    mirror: Path, made: MadeRepository, server: GitServer, url: str
) -> None:
    sha = made.commit({"a": b"1"})
    given = url.format(host=server.url.removeprefix("http://"), path=made.path)
    with pytest.raises(GitError) as refused:
        fetch_head(mirror, given, "refs/heads/main", "refs/pull/7/head")
    assert TOKEN not in str(refused.value)
    with pytest.raises(GitError):
        git.fetch_fork(mirror, given, sha, allow_http=True)
    assert server.requests == []


def test_the_beginning_of_a_name_leads_to_one_commit_of_a_refs_history(made: MadeRepository) -> None:
    first = made.commit({"a": b"1"})
    second = made.commit({"a": b"2"}, first)
    elsewhere = made.commit({"a": b"3"}, ref="refs/heads/other")
    tree = made.git("rev-parse", f"{second}^{{tree}}")

    def found(digits: str, ref: str = "refs/heads/main") -> str | None:
        return git.resolve_beginning(made.path, digits, ref)

    assert [found(sha[:12]) for sha in (second, first, elsewhere, tree)] == [second, first, None, None]
    assert (found(second), found(first), found(elsewhere[:12], "refs/heads/other")) == (second, first, elsewhere)
    for nonsense in ("", second[:11], second[:12].upper(), "f" * 12, "HEAD", "main", f"{second[:12]}^", "0" * 64):
        assert found(nonsense) is None
    assert found(first[:12], "refs/heads/gone") is None
