"""Submodules and Git LFS objects that the server fetches for a commit."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from git_over_http import GitServer, served
from instance import Checkout, wait_for
from lfs_client import track
from made_repository import MadeRepository
from push_server import PushServer, bare_repository, step

from core import git
from core.config import Seconds, Size
from core.errors import GitError
from core.git import url as git_url
from core.git.lfs import has_object
from web.services.repositories import hosting, remotes
from web.services.repositories import sources as services
from web.services.repositories.fetch_rules import FetchRules, resolve_relative_url
from web.store import projects, sources
from web.store.sources import CommitSources

MB = 1024**2
TOKEN = "s3cret-token"


class Site:
    """A project whose repository is on a git server, and submodules beside it."""

    def __init__(self, pushes: PushServer, checkout: Checkout, root: Path, server: GitServer) -> None:
        self.pushes, self.checkout, self.root, self.server = pushes, checkout, root, server
        self.host = server.url.removeprefix("http://")
        self.url = f"http://runner:{TOKEN}@{self.host}/git/ada/model.git"
        self.path = bare_repository(root / "ada" / "model.git")
        pushes.with_git(allow_http=True)
        pushes.add_project("model", "plain", self.url)
        self.repository = projects.list_repositories(pushes.db, projects.get_by_name(pushes.db, "model").id)[0]

    def module(self, name: str) -> MadeRepository:
        return MadeRepository(self.root / f"{name}.git")

    def commit(self, modules: dict[str, tuple[str, str]], more: str = "", **files: str | bytes) -> str:
        """A commit with submodules, by path their URLs and commits; pushed."""
        text = "".join(f'[submodule "{path}"]\n\tpath = {path}\n\turl = {url}\n' for path, (url, _) in modules.items())
        for path, (_, sha) in modules.items():
            self.checkout.git("update-index", "--add", "--cacheinfo", f"160000,{sha},{path}")
            (self.checkout.folder / path).mkdir(parents=True, exist_ok=True)
        given = {"valohai.yaml": step("train"), ".gitmodules": text + more} | files
        for name, content in given.items():
            (self.checkout.folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        self.checkout.git("add", *given)
        self.checkout.git("commit", "-q", "-m", "with submodules")
        return self.push()

    def push(self) -> str:
        self.checkout.git("push", "-q", "-f", self.url, "HEAD:main")
        return self.checkout.git("rev-parse", "HEAD").stdout.strip()

    def fetch(self, sha: str) -> CommitSources:
        """What the worker does for an execution of the commit."""
        db = self.pushes.db
        remotes.fetch(self.pushes.context, self.repository, [sha])
        sources.request(db, self.repository.id, sha)
        services.fetch_wanted(self.pushes.context, self.repository.id)
        found = sources.find(db, self.repository.id, sha)
        assert found is not None
        return found

    @property
    def modules(self) -> Path:
        return hosting.get_modules_path(self.pushes.config, self.repository)

    @property
    def objects(self) -> Path:
        return hosting.get_lfs_path(self.pushes.config, self.repository)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    (tmp_path / "forge" / "ada").mkdir(parents=True)
    with served(tmp_path / "forge") as running:
        yield running


@pytest.fixture
def site(pushes: PushServer, checkout: Checkout, tmp_path: Path, server: GitServer) -> Site:
    return Site(pushes, checkout, tmp_path / "forge", server)


def made(site: Site, name: str, files: dict[str, bytes]) -> str:
    return site.module(name).commit(files)


def test_submodules_are_fetched_with_the_credentials_and_theirs_below_them(site: Site) -> None:
    deep = made(site, "ada/deep", {"deep.txt": b"deep"})
    lib = site.module("ada/lib")
    text = b'[submodule "d"]\n\tpath = below/deep\n\turl = ../deep\n'
    entries = [("100644", b".gitmodules", lib.blob(text)), ("40000", b"below", lib.tree(("160000", b"deep", deep)))]
    lib_sha = lib.commit_tree(lib.tree(*entries))
    sha = site.commit({"vendor/lib": ("../lib.git", lib_sha)})
    found = site.fetch(sha)
    assert (found.state, found.missing, found.skipped) == ("ready", (), ())
    assert git.read_file(site.modules, deep, "deep.txt", 9) == b"deep"
    assert git.resolve(site.modules, lib_sha) == lib_sha
    assert TOKEN.encode() not in b"".join(f.read_bytes() for f in site.modules.rglob("*") if f.is_file())


def test_one_that_is_gone_is_named_with_the_reason_and_found_later(site: Site) -> None:
    lib = made(site, "ada/lib", {"a": b"1"})
    sha = site.commit(
        {"lib": ("../lib.git", "f" * 40), "other": ("../absent.git", "e" * 40), "good": ("../lib.git", lib)}
    )
    found = site.fetch(sha)
    assert found.state == "failed"
    assert [path for path, _ in found.missing] == ["lib", "other"]
    assert "not our ref" in found.missing[0][1]
    assert "/git/ada/absent.git" in found.missing[1][1]
    assert git.resolve(site.modules, lib) == lib
    (site.root / "ada" / "lib.git").rename(site.root / "ada" / "absent.git")
    again = site.fetch(site.commit({"lib": ("../absent.git", lib)}))
    assert again.state == "ready"


def test_what_gitmodules_does_not_name_or_does_not_update_is_left_as_it_is(site: Site) -> None:
    lib = made(site, "ada/lib", {"a": b"1"})
    more = '[submodule "off"]\n\tpath = off\n\turl = ../lib\n\tupdate = none\n'
    for path in ("stray", "off"):
        site.checkout.git("update-index", "--add", "--cacheinfo", f"160000,{lib},{path}")
        (site.checkout.folder / path).mkdir()
    found = site.fetch(site.commit({}, more))
    assert (found.state, found.missing) == ("ready", ())
    assert dict(found.skipped) == {"stray": ".gitmodules does not name it", "off": ".gitmodules says update = none"}


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("https://example.invalid/x.git", "host example.invalid is not one of"), ("ext::sh -c true", "helper program"),
        ("ssh://git@github.com/x/y.git", "the repository's key is not used"), ("--upload-pack=x", "option of git"),
        ("file:///etc", "allow_local"), ("/srv/git/x.git", "allow_local"), ("../../../../x.git", "leads out of"),
    ],
)  # fmt: skip
def test_what_a_project_may_not_fetch_is_refused_with_the_reason(site: Site, url: str, why: str) -> None:
    found = site.fetch(site.commit({"lib": (url, "f" * 40)}))
    assert found.state == "failed"
    assert why in found.missing[0][1]
    assert not site.modules.exists() or git.list_refs(site.modules) == {}


def test_another_host_gets_no_credentials(site: Site) -> None:
    lib = made(site, "ada/lib", {"a": b"1"})
    site.pushes.with_git(submodule_hosts=("localhost",))
    site.server.public = "/git/ada/lib.git"
    found = site.fetch(site.commit({"lib": (f"http://localhost:{site.server.server_port}/git/ada/lib.git", lib)}))
    assert found.state == "ready"
    assert site.server.credentials_seen == set()


def test_bounds_of_number_and_size_are_named(site: Site) -> None:
    large = made(site, "ada/large", {"a": os.urandom(2 * MB)})
    lib = made(site, "ada/lib", {"a": b"1"})
    site.pushes.with_git(submodules=2, submodule_bytes=Size(MB))
    found = site.fetch(site.commit({"a": ("../large.git", large), "b": ("../lib.git", lib), "c": ("../lib.git", lib)}))
    assert [path for path, _ in found.missing] == ["a", "c"]
    assert "larger than 1,048,576 bytes" in found.missing[0][1]
    assert "[git] submodules" in found.missing[1][1]


def test_urls_are_relative_by_gits_rules() -> None:
    for base, url, expected in (
        ("https://h/o/n.git", "../x.git", "https://h/o/x.git"), ("https://h/o/n.git/", "./x", "https://h/o/n.git/x"),
        ("https://h/o/n", "../../p/x", "https://h/p/x"), ("git@h:o/n.git", "../x.git", "git@h:o/x.git"),
        ("git@h:n.git", "../x.git", "git@h:x.git"), ("ssh://git@h:22/o/n", "../x", "ssh://git@h:22/o/x"),
        ("/srv/git/n.git", "../x.git", "/srv/git/x.git"),
    ):  # fmt: skip
        assert resolve_relative_url(base, url) == expected
    for base, url in (("https://h/o/n.git", "../../../x"), ("/n", "../../x")):
        with pytest.raises(GitError, match="leads out"):
            resolve_relative_url(base, url)


def test_credentials_go_to_the_repositorys_own_host_over_no_weaker_channel() -> None:
    login = git.Login(ssh_key=b"key", user="u", password="p")

    def gets(home: str, url: str) -> bool:
        parsed = [git_url.parse(one, allow_local=True, allow_http=True) for one in (home, url)]
        rules = FetchRules(home=parsed[0], login=login, hosts=(), allow_local=True, allow_http=True)
        return rules.login_for(parsed[1]) == login

    https, ssh = "https://h/o/n.git", "ssh://git@h/o/n.git"
    assert [gets(https, url) for url in ("https://h/x", "https://h:8443/x", "http://h/x", "https://other/x")] == [
        True, False, False, False,
    ]  # fmt: skip
    assert [gets(ssh, url) for url in ("git@h:x", "https://h/x", "https://h:8443/x", "http://h/x", "git@i:x")] == [
        True, True, False, False, False,
    ]  # fmt: skip
    assert not gets(https, "https://me:mine@h/x")


# Git LFS


@pytest.mark.lfs
def test_objects_that_git_lfs_pushed_are_fetched_and_checked(site: Site) -> None:
    track(site.checkout)
    content = os.urandom(3 * MB)
    site.checkout.commit({"valohai.yaml": step("train"), "model.bin": content, "copy.bin": content})
    sha = site.push()
    oid = hashlib.sha256(content).hexdigest()
    assert site.server.lfs == {oid: content}
    assert site.fetch(sha).state == "ready"
    assert has_object(site.objects, oid, len(content))
    batches = len(site.server.lfs_batches)
    assert site.fetch(site.push()).state == "ready"
    assert len(site.server.lfs_batches) == batches


@pytest.mark.lfs
def test_objects_that_are_missing_or_damaged_are_named(site: Site) -> None:
    track(site.checkout)
    site.checkout.commit({"a.bin": b"a" * 100, "b.bin": b"b" * 100, "c.bin": b"c" * 100, "ok.bin": b"fine"})
    sha = site.push()
    damaged, longer, gone = (hashlib.sha256(name * 100).hexdigest() for name in (b"a", b"b", b"c"))
    site.server.lfs |= {damaged: b"A" * 100, longer: b"b" * 1000}
    del site.server.lfs[gone]
    found = site.fetch(sha)
    reasons = dict(found.missing)
    assert sorted(reasons) == ["a.bin", "b.bin", "c.bin"]
    assert "its content has SHA-256" in reasons["a.bin"]
    assert "more than the 100 bytes" in reasons["b.bin"]
    assert "no such object" in reasons["c.bin"]
    assert [file.name for file in site.objects.rglob("*") if file.is_file()] == [hashlib.sha256(b"fine").hexdigest()]


@pytest.mark.lfs
def test_what_lfsconfig_excludes_is_left_a_pointer(site: Site) -> None:
    track(site.checkout)
    files = {"big/a.bin": b"a", "small.bin": b"b", ".lfsconfig": "[lfs]\n\tfetchexclude = big, other/*\n"}
    site.checkout.commit(files)
    sha = site.push()
    found = site.fetch(sha)
    assert (found.state, found.skipped) == ("ready", (("big/a.bin", ".lfsconfig excludes it"),))


@pytest.mark.lfs
def test_objects_of_a_commit_have_bounds_and_a_time(site: Site) -> None:
    track(site.checkout)
    site.checkout.commit({"a.bin": b"a" * 100, "b.bin": b"b" * 100})
    sha = site.push()
    site.pushes.with_git(lfs_files=1)
    assert "lfs_files" in dict(site.fetch(sha).missing)["b.bin"]
    site.pushes.with_git(lfs_files=10, lfs_bytes=Size(150))
    assert "lfs_bytes" in dict(site.fetch(sha).missing)["b.bin"]
    site.pushes.with_git(lfs_bytes=Size(MB), sources_time=Seconds(0.0))
    assert "sources_time" in dict(site.fetch(sha).missing)["b.bin"]


@pytest.mark.lfs
def test_the_credentials_go_to_the_server_itself_and_not_where_it_sends_us(site: Site, tmp_path: Path) -> None:
    track(site.checkout)
    site.checkout.commit({"a.bin": b"a"})
    sha = site.push()
    with served(tmp_path / "forge") as storage:
        storage.public, storage.lfs = "/git/", site.server.lfs
        site.server.lfs_site = storage.url
        assert site.fetch(sha).state == "ready"
        assert storage.requests
        assert storage.credentials_seen == set()


@pytest.mark.lfs
def test_a_lfsconfig_of_a_stranger_host_is_refused(site: Site) -> None:
    track(site.checkout)
    site.checkout.commit({"a.bin": b"a"})
    site.push()
    site.checkout.commit({".lfsconfig": "[lfs]\n\turl = https://example.invalid/lfs\n"})
    site.checkout.git("push", "-q", "--no-verify", site.url, "HEAD:main")
    found = site.fetch(site.checkout.git("rev-parse", "HEAD").stdout.strip())
    assert "host example.invalid is not one of" in dict(found.missing)["a.bin"]


@pytest.mark.lfs
def test_objects_of_a_submodule_come_from_its_own_server(site: Site, tmp_path: Path) -> None:
    lib = Checkout(tmp_path / "lib")
    track(lib)
    lib_sha = lib.commit({"w.bin": b"weights"})
    bare_repository(site.root / "ada" / "lib.git")
    lib.git("push", "-q", site.url.replace("model", "lib"), "HEAD:main")
    sha = site.commit({"lib": ("../lib.git", lib_sha)})
    assert site.fetch(sha).state == "ready"
    assert has_object(site.objects, hashlib.sha256(b"weights").hexdigest(), 7)
    assert ("POST", "/git/ada/lib.git/info/lfs/objects/batch") in site.server.requests


@pytest.mark.lfs
def test_a_kill_in_between_is_gone_on_with(site: Site) -> None:
    track(site.checkout)
    site.checkout.commit({"a.bin": b"a"})
    sha = site.push()
    db = site.pushes.db
    remotes.fetch(site.pushes.context, site.repository, [sha])
    sources.request(db, site.repository.id, sha)  # and the worker that had begun is killed
    site.objects.mkdir()
    (site.objects / "new-left").write_bytes(b"half")
    os.utime(site.objects / "new-left", (1, 1))
    with site.pushes.worker():
        wait_for(lambda: (found := sources.find(db, site.repository.id, sha)) and found.state == "ready")
    assert not (site.objects / "new-left").exists()


FAKE_SSH = """#!/bin/sh
printf '%s\\n' "$*" >>{folder}/asked
for word in "$@"; do last=$word; done
case "$last" in
git-lfs-authenticate*) cat {folder}/answer ;;
*) exec sh -c "$last" ;;
esac
"""


@pytest.mark.lfs
@pytest.mark.parametrize("answers", [True, False])
def test_over_ssh_the_host_itself_gives_the_credentials(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answers: bool
) -> None:
    track(site.checkout)
    site.checkout.commit({"a.bin": b"a"})
    sha = site.push()
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "ssh").write_text(FAKE_SSH.format(folder=folder))
    (folder / "ssh").chmod(0o755)
    header = {"Authorization": f"Basic {site.server.credentials}"}
    answer = {"href": f"{site.server.url}/git/ada/model.git/info/lfs", "header": header} if answers else "no"
    (folder / "answer").write_text(json.dumps(answer))
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    url, project = f"ssh://git@127.0.0.1:1{site.path}", projects.get_by_name(site.pushes.db, "model")
    hosting.set_url(site.pushes.context, project, url, None)
    site.repository = projects.get_repository(site.pushes.db, site.repository.id)
    found = site.fetch(sha)
    asked = (folder / "asked").read_text()
    assert f"-p 1 -- git@127.0.0.1 git-lfs-authenticate {site.path} download" in asked
    assert "IdentitiesOnly=yes" in asked
    assert found.state == ("ready" if answers else "failed")
