"""The post-receive hook in a repository elsewhere needs only sh, curl and openssl."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from instance import Checkout
from push_server import PushServer, bare_repository, step

from core.errors import InvalidInput
from hooks import post_receive
from web.cli import project


class Elsewhere:
    """A bare repository of somebody's, with the hook in it, that the server fetches from."""

    def __init__(self, pushes: PushServer, checkout: Checkout, path: Path) -> None:
        self.pushes, self.checkout, self.path = pushes.with_git(allow_local=True), checkout, bare_repository(path)
        self.secret = pushes.add_project("model", "plain", None)
        self.install("--url", pushes.url)

    def install(self, *options: str) -> str:
        arguments = ["install", str(self.path), "--project", "model", "--data", str(self.pushes.config.data)]
        result = CliRunner().invoke(project.hook, [*arguments, *options], catch_exceptions=False)
        assert result.exit_code == 0
        return result.output

    def push(self, *arguments: str) -> str:
        return self.checkout.git("push", *arguments, str(self.path), "main").stderr

    def waiting(self) -> list[Path]:
        return sorted((self.path / "pushmill").glob("*.push"))


@pytest.fixture
def elsewhere(pushes: PushServer, checkout: Checkout, tmp_path: Path) -> Elsewhere:
    return Elsewhere(pushes, checkout, tmp_path / "elsewhere.git")


def test_the_pusher_reads_what_runs(elsewhere: Elsewhere) -> None:
    sha = elsewhere.checkout.commit({"valohai.yaml": step("train")})
    with elsewhere.pushes.worker():
        said = elsewhere.push()
    assert f"remote: main: {elsewhere.pushes.url}/p/model/commits/{sha}/" in said
    assert "train #1" in said
    assert elsewhere.waiting() == []


def test_push_options_reach_the_server(elsewhere: Elsewhere) -> None:
    elsewhere.checkout.commit({"valohai.yaml": step("a") + step("b")})
    text = "odd=$(touch owned) `id` \"quoted\" 'single' \\n ü"
    elsewhere.push("-o", "pushmill.step=b", "-o", text)
    elsewhere.pushes.drain()
    assert elsewhere.pushes.steps("model") == ["b"]
    assert elsewhere.pushes.pushes("model")[0].options == ("pushmill.step=b", text)
    assert not list(elsewhere.path.rglob("owned"))


def test_a_server_that_is_away_never_fails_the_push_and_is_told_next_time(elsewhere: Elsewhere) -> None:
    first = elsewhere.checkout.commit({"valohai.yaml": step("train")}, "first")
    elsewhere.pushes.stop()
    said = elsewhere.push()
    assert "was not reached" in said
    (kept,) = elsewhere.waiting()
    old = kept.rename(kept.with_name(f"{int(time.time()) - 60}{kept.name[10:]}"))
    elsewhere.pushes.start()
    second = elsewhere.checkout.commit({}, "second")
    assert "1 earlier push" in elsewhere.push()
    assert not old.exists()
    assert elsewhere.waiting() == []
    elsewhere.pushes.drain()
    assert [push.after for push in elsewhere.pushes.pushes("model")] == [first, second]


def test_a_second_that_just_ends_keeps_no_earlier_push_back(
    elsewhere: Elsewhere, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere.checkout.commit({"valohai.yaml": step("train")}, "first")
    elsewhere.pushes.stop()
    elsewhere.push()
    (kept,) = elsewhere.waiting()
    kept.rename(kept.with_name(f"{int(time.time()) - 60}{kept.name[10:]}"))
    elsewhere.pushes.start()
    tools = tmp_path / "tools"
    tools.mkdir()
    clock = tools / "date"  # on which a second ends whenever somebody looks
    clock.write_text(f"#!/bin/sh\necho x >>{tools}/looks\necho $(({int(time.time())} + $(wc -l <{tools}/looks)))\n")
    clock.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    elsewhere.checkout.commit({}, "second")
    assert "1 earlier push" in elsewhere.push()


def test_a_server_that_hangs_holds_a_push_up_for_two_seconds_at_most(
    elsewhere: Elsewhere, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "curl").write_text(f'#!/bin/sh\necho "$@" >>{tools}/calls\nexec {shutil.which("curl")} "$@"\n')
    (tools / "curl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        elsewhere.install("--url", f"http://127.0.0.1:{silent.getsockname()[1]}")
        elsewhere.checkout.commit({})
        said = elsewhere.push()
    assert re.findall(r"--max-time (\S+)", (tools / "calls").read_text()) == ["2"]
    assert "was not reached" in said
    assert len(elsewhere.waiting()) == 1


def test_a_refused_signature_keeps_the_push(elsewhere: Elsewhere) -> None:
    (elsewhere.path / "pushmill" / "ipad").write_bytes(b"x" * 64)
    elsewhere.checkout.commit({})
    assert "answered 401" in elsewhere.push()
    assert len(elsewhere.waiting()) == 1
    elsewhere.install("--url", elsewhere.pushes.url)  # puts it right
    elsewhere.checkout.commit({})
    assert "/p/model/commits/" in elsewhere.push()


def test_without_curl_the_pusher_reads_what_to_install(elsewhere: Elsewhere, tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("sh", "cat", "mktemp", "date", "mv", "id", "sync", "sed", "tr"):
        (programs / name).symlink_to(subprocess.run(["which", name], capture_output=True, text=True).stdout.strip())
    line = f"{'0' * 40} {'a' * 40} refs/heads/main\n"
    hook = elsewhere.path / "hooks" / "post-receive"
    environment = {"PATH": str(programs), "GIT_DIR": "."}
    result = subprocess.run(
        [hook], input=line, text=True, cwd=elsewhere.path, env=environment, capture_output=True, check=True
    )
    assert "install curl and openssl" in result.stdout
    assert len(elsewhere.waiting()) == 1


def test_installing_sets_the_url_to_fetch_from_and_keeps_the_secret_to_the_owner(elsewhere: Elsewhere) -> None:
    files = {path.name: path.stat().st_mode & 0o777 for path in (elsewhere.path / "pushmill").iterdir()}
    assert files == {"ipad": 0o600, "opad": 0o600, "url": 0o600}
    assert not any(
        elsewhere.secret.encode() in path.read_bytes() for path in elsewhere.path.rglob("*") if path.is_file()
    )


def test_a_strangers_hook_is_not_overwritten(tmp_path: Path) -> None:
    path = bare_repository(tmp_path / "theirs.git")
    hook = path / "hooks" / "post-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho theirs\n")
    with pytest.raises(InvalidInput, match="was not installed by pushmill"):
        post_receive.install(path, "http://127.0.0.1:1", b"secret")
    assert "theirs" in hook.read_text()
    with pytest.raises(InvalidInput, match="not a bare git repository"):
        post_receive.install(tmp_path, "http://127.0.0.1:1", b"secret")


def test_the_project_command_prints_webhook_and_secret(pushes: PushServer) -> None:
    def run(*arguments: str) -> str:
        result = CliRunner().invoke(
            project.project, [*arguments, "--data", str(pushes.config.data)], catch_exceptions=False
        )
        assert result.exit_code == 0
        return result.stdout

    assert "No project yet" in run("list")
    added = run("add", "model", "--repo", "https://github.com/ada/model.git")
    assert "/hooks/model/github" in added
    assert added == run("show", "model")
    run("add", "local")
    assert [line.split()[:2] for line in run("list").splitlines()] == [["local", "hosted"], ["model", "github"]]
    assert '"webhook_url"' in run("show", "model", "--json")
    assert os.listdir(pushes.config.git_dir) != []
