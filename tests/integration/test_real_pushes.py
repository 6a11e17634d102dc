"""Real git in each of the three ways to push: the same ref updates are recorded, whatever the name of the ref."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from forge_deliveries import ZERO, Gitea, Moved, encoded
from git_over_http import GitServer, served
from instance import Checkout, wait_for
from push_server import PushServer, bare_repository, step

from core.errors import InvalidInput
from hooks import post_receive, signatures
from web.cli import project
from web.services.repositories import hosting
from web.services.repositories.polling import FOUND
from web.store import projects
from web.store.pushes import Push

REPOSITORY = "ada/model"
NOT_UTF_8 = os.fsdecode(b"not-\xff\xfe-utf-8")
ODD = (
    "-x", "--upload-pack=owned", "ünï", "ひらがな", "it's", 'a"b', "$(touch${IFS}owned)", "`id`",
    "semi;colon", "a&b|c", "100%", "%2e%2e%2f", "%(refname)", "a/b/c", "<b>bold</b>", "a@b", "@", "#1", "{{7}}",
    "no\u00a0break", "left\u202eright", "x" * 200, "/".join("d" * 40), "HEAD", "main", "refs/heads/main", "pushmill/x",
)  # fmt: skip


class Way(ABC):
    """A repository that `checkout` pushes to, and how the server comes to know."""

    def __init__(self, pushes: PushServer, checkout: Checkout) -> None:
        self.pushes, self.checkout = pushes, checkout

    @abstractmethod
    def push(self, *refspecs: str) -> str:
        """Push by force, and let the server know; what the pusher reads."""

    def recorded(self) -> list[tuple[str, str, str]]:
        """(ref, commit, outcome) of every push, in order."""
        wait_for(lambda: self._is_done(), 30)
        return [(push.ref, push.after, push.outcome) for push in self.moves()]

    def moves(self) -> list[Push]:
        """Without what a first look at the remote found there."""
        return [push for push in self.pushes.pushes("model") if push.outcome != FOUND]

    def _is_done(self) -> bool:
        states = {delivery.state for delivery in self.pushes.deliveries("model")}
        return states == {"done"} and not self.pushes.push_files()


class Hosted(Way):
    """The server itself, over HTTP."""

    def push(self, *refspecs: str) -> str:
        return self.pushes.push(self.checkout, "model", "-f", *refspecs)


class Hooked(Way):
    """A bare repository on disk with the hook that was installed in it."""

    def __init__(self, pushes: PushServer, checkout: Checkout, path: Path) -> None:
        super().__init__(pushes.with_git(allow_local=True), checkout)
        self.path = bare_repository(path)
        pushes.add_project("model", "plain", None)
        CliRunner().invoke(
            project.hook,
            ["install", str(path), "--project", "model", "--data", str(pushes.config.data), "--url", pushes.url],
            catch_exceptions=False,
        )

    def push(self, *refspecs: str) -> str:
        return self.checkout.git("push", "-f", str(self.path), *refspecs).stderr


class Webhook(Way):
    """A forge that serves the repository over HTTP and tells of each moved ref by a webhook."""

    def __init__(self, pushes: PushServer, checkout: Checkout, server: GitServer) -> None:
        super().__init__(pushes.with_git(allow_http=True), checkout)
        self.path = bare_repository(server.root / f"{REPOSITORY}.git")
        self.sender, self.numbers = Gitea(), itertools.count()
        url = f"http://runner:s3cret-token@127.0.0.1:{server.server_port}/git/{REPOSITORY}.git"
        pushes.add_project("model", self.sender.name, url)
        hosting.set_secret(pushes.context, projects.get_by_name(pushes.db, "model"), self.sender.secret)

    def push(self, *refspecs: str) -> str:
        before = self._refs()
        said = self.checkout.git("push", "-f", str(self.path), *refspecs).stderr
        after = self._refs()
        for ref in sorted(before.keys() | after.keys()):
            (old, _), (new, commit) = before.get(ref, (ZERO, "")), after.get(ref, (ZERO, ""))
            if old != new:
                self._tell(Moved(ref=ref, before=old, after=new, commit=commit))
        return said

    def _tell(self, moved: Moved) -> None:
        body = encoded(self.sender.push(moved))
        headers = self.sender.headers(body, f"d-{next(self.numbers)}")
        assert self.pushes.post(f"/hooks/model/{self.sender.name}", body, **headers).status_code == 202

    def _refs(self) -> dict[str, tuple[str, str]]:
        """What each ref names, and the commit of a tag that is an object of its own."""
        form = "--format=%(objectname) %(*objectname) %(refname)"
        done = subprocess.run(["git", f"--git-dir={self.path}", "for-each-ref", form], capture_output=True, check=True)
        lines = (line.split(" ", 2) for line in done.stdout.decode("utf-8", "replace").splitlines())
        return {ref: (sha, commit) for sha, commit, ref in lines}


@pytest.fixture(params=[Hosted, Hooked, Webhook], ids=lambda kind: kind.__name__)
def way(request: pytest.FixtureRequest, pushes: PushServer, checkout: Checkout, tmp_path: Path) -> Iterator[Way]:
    with served(tmp_path / "forge") as server:
        made = {Hooked: tmp_path / "elsewhere.git", Webhook: server}.get(request.param)
        way = request.param(pushes, checkout, *([made] if made else []))
        with pushes.worker():
            yield way


def test_odd_names_of_branches_are_only_names(way: Way) -> None:
    sha = way.checkout.commit({"valohai.yaml": step("train")})
    said = way.push(*(f"main:refs/heads/{name}" for name in (*ODD, NOT_UTF_8)))
    names = [*ODD, os.fsencode(NOT_UTF_8).decode("utf-8", "replace")]
    assert sorted(way.recorded()) == sorted((f"refs/heads/{name}", sha, "1 execution") for name in names)
    assert set(way.pushes.steps("model")) == {"train"}
    assert sorted(way.pushes.commit("model", sha).ref_names) == sorted(names)
    assert isinstance(way, Webhook) or f"/p/model/commits/{sha}/" in said
    assert not [path for path in (way.checkout.folder, way.pushes.config.data) if list(path.rglob("owned"))]


def test_refs_that_appear_move_and_go_are_recorded_alike(way: Way) -> None:
    a = way.checkout.commit({"valohai.yaml": step("train")}, "A")
    way.push("main")
    b = way.checkout.commit({}, "B")
    way.push("main")
    way.checkout.git("reset", "-q", "--hard", a)
    c = way.checkout.commit({}, "C")
    way.push("main")
    way.checkout.git("tag", "light")
    way.checkout.git("tag", "-a", "-m", "x", "annotated")
    way.checkout.git("tag", "-a", "-m", "x", "of-a-tag", "annotated")
    way.push("refs/tags/annotated")
    way.push("refs/tags/light", "refs/tags/of-a-tag", "main:refs/heads/same", "main:refs/tags/same")
    way.push(f"{a}:refs/tags/light")
    way.push(":refs/tags/light", ":refs/heads/same")
    found = way.recorded()
    branch = [("refs/heads/main", sha, "1 execution") for sha in (a, b, c)]
    assert found[:3] == branch
    tagged = [(f"refs/tags/{name}", "tag recorded") for name in ("annotated", "light", "of-a-tag", "same")]
    assert sorted((ref, outcome) for ref, _, outcome in found[3:8]) == [("refs/heads/same", "1 execution"), *tagged]
    assert found[8] == ("refs/tags/light", a, "tag recorded")
    assert sorted(found[9:]) == [("refs/heads/same", ZERO, "deleted"), ("refs/tags/light", ZERO, "deleted")]
    commits = {way.pushes.commit("model", sha).id: sha for sha in (a, b, c)}
    led_to = [(push.ref, commits.get(push.commit_id or 0)) for push in way.moves()[3:8]]
    assert {sha for _, sha in led_to} == {c}
    assert len(way.pushes.steps("model")) == 4


def test_fifty_refs_at_once_are_fifty_pushes(way: Way) -> None:
    sha = way.checkout.commit({"valohai.yaml": step("train")})
    names = [f"refs/heads/branch-{number:02}" for number in range(25)] + [f"refs/tags/v{n:02}" for n in range(25)]
    way.push(*(f"main:{name}" for name in names))
    outcomes = [(ref, sha, "1 execution" if "heads" in ref else "tag recorded") for ref in names]
    assert sorted(way.recorded()) == outcomes
    assert len(way.pushes.steps("model")) == 25


def test_a_repository_of_sha_256_is_refused_with_what_to_do(pushes: PushServer, tmp_path: Path) -> None:
    """libgit2, which reads the commits, cannot read these."""
    checkout = Checkout(tmp_path / "sha256")
    shutil.rmtree(checkout.folder / ".git")
    checkout.git("init", "-q", "--object-format=sha256", "-b", "main")
    sha = checkout.commit({"valohai.yaml": step("train")})
    failed = checkout.git("push", pushes.git_url("hosted"), "main", check=False)
    assert failed.returncode != 0
    assert "fatal: " in failed.stderr  # git's own words

    bare = tmp_path / "bare.git"
    checkout.git("clone", "-q", "--bare", ".", str(bare))
    with pytest.raises(InvalidInput, match="--object-format=sha1"):
        post_receive.install(bare, "http://127.0.0.1:1", b"secret")
    assert not (bare / "hooks" / "post-receive").exists()

    secret = pushes.add_project("model", "plain", f"file://{bare}")
    body = f"pushmill-push 1\nid 12345678\nref {'0' * 64} {sha} refs/heads/main\n".encode()
    signed = {"X-Pushmill-Signature-256": signatures.sign(body, secret.encode()), "Prefer": "respond-async"}
    assert pushes.post("/hooks/model/plain", body, **signed).status_code == 202
    pushes.drain()
    (delivery,) = pushes.deliveries("model")
    assert delivery.state == "failed"
    assert "--object-format=sha1" in delivery.message
