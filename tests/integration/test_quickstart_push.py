"""The push of the first start: real git over HTTP, with any git configuration of the machine."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from git_over_http import GitServer, served

from web.processes import quickstart
from web.processes.quickstart import QuickstartFailed, ServerApi

EXAMPLE = Path(__file__).parents[2] / "examples" / "quickstart"
TOKEN = "a-secret-token"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    root = tmp_path / "served"
    subprocess.run(["git", "init", "-q", "--bare", str(root / "quickstart.git")], check=True)
    subprocess.run(["git", "-C", str(root / "quickstart.git"), "config", "http.receivepack", "true"], check=True)
    with served(root, "admin", TOKEN) as server:
        yield server


def test_the_example_is_pushed_and_the_repository_is_ready_for_the_next_push(
    tmp_path: Path, server: GitServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile = tmp_path / "home"
    hostile.mkdir()
    (hostile / ".gitconfig").write_text(
        "[commit]\n gpgsign = true\n[url 'http://127.0.0.1:1/']\n insteadOf = http://\n"
    )
    monkeypatch.setenv("HOME", str(hostile))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    said: list[str] = []
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    assert not quickstart.was_pushed(data)
    quickstart.push(EXAMPLE, data / "quickstart", ServerApi(server.url, "another"), TOKEN, said.append)
    assert quickstart.was_pushed(data)
    assert any("main -> main" in line for line in said)
    assert TOKEN not in "".join(said)
    assert (data / "quickstart" / ".git" / "config").stat().st_mode & 0o777 == 0o600

    train = data / "quickstart" / "train.py"
    train.write_text(train.read_text() + "# mine\n")
    quickstart.run_git(data / "quickstart", "commit", "-qam", "Mine")
    quickstart.run_git(data / "quickstart", "push")
    pushed, served_now = (
        quickstart.run_git(where, "rev-parse", "main")
        for where in (data / "quickstart", server.root / "quickstart.git")
    )
    assert pushed == served_now


def test_a_push_that_was_cut_off_is_finished_by_the_next_one(tmp_path: Path, server: GitServer) -> None:
    server.redirect = "http://127.0.0.1:1"
    with pytest.raises(QuickstartFailed, match=r"git push of the example failed: (?!.*a-secret-token)"):
        quickstart.push(EXAMPLE, tmp_path / "quickstart", ServerApi(server.url, "another"), TOKEN, print)
    assert not quickstart.was_pushed(tmp_path)
    server.redirect = None
    quickstart.push(EXAMPLE, tmp_path / "quickstart", ServerApi(server.url, "another"), TOKEN, print)
    assert quickstart.was_pushed(tmp_path)
