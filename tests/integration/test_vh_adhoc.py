"""The real `vh` uploads ad-hoc code, once for the same files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from api_server import ApiServer, listening
from vh_client import Vh

from core import git
from web.services.repositories import hosting
from web.store import commits

YAML = "- step:\n    name: hello\n    image: busybox\n    command: ./run.sh\n"
PIPELINE = "- pipeline: {name: all, nodes: [{name: one, type: execution, step: hello}], edges: []}\n"


@pytest.fixture
def vh(api: ApiServer, tmp_path: Path) -> Iterator[Vh]:
    with listening(api.app) as url:
        vh = Vh(tmp_path, url)
        vh("login", "--host", url, "--token", api.token)
        vh("project", "link", "demo", "-y")
        (vh.folder / "valohai.yaml").write_text(YAML + PIPELINE)
        (vh.folder / "run.sh").write_text("echo hello\n")
        (vh.folder / "run.sh").chmod(0o755)
        (vh.folder / "ä").symlink_to("run.sh")
        yield vh


def uploaded(api: ApiServer) -> list[str]:
    found, _ = commits.search(api.db, [api.demo.id], adhoc=True, limit=10, offset=0)
    return [commit.identifier for commit in found]


def test_vh_uploads_the_same_files_once(api: ApiServer, vh: Vh) -> None:
    first = vh("exec", "run", "--adhoc", "hello")
    (identifier,) = uploaded(api)
    assert f"Uploaded ad-hoc code {identifier}" in first
    assert f"Ad-hoc code {identifier} already uploaded" in vh("exec", "run", "--adhoc", "hello")
    commit = commits.get_by_identifier(api.db, api.demo.id, identifier)
    path = hosting.get_repository_path(api.config, hosting.get_repository(api.db, api.demo))
    assert git.read_file(path, commit.sha, "run.sh", 100) == b"echo hello\n"
    os.utime(vh.folder / "run.sh", (1, 1))
    assert "Uploaded ad-hoc code" in vh("pipeline", "run", "--adhoc", "all")
    assert len(uploaded(api)) == 2
    assert [execution["commit"]["identifier"] for execution in vh.json("exec", "list")] == [identifier] * 2
    assert [commit["identifier"] for commit in vh.json("project", "commits")] == [api.commit.identifier]


def test_vh_shows_why_a_package_is_refused(api: ApiServer, vh: Vh) -> None:
    (vh.folder / "valohai.yaml").write_text(YAML.replace("command", "comand"))
    assert "yaml_path:\n  * valohai.yaml: " in vh("pipeline", "run", "--adhoc", "all", rc=1)
    (vh.folder / "valohai.yaml").write_text(YAML)
    (vh.folder / "ä").unlink()
    (vh.folder / "ä").symlink_to("/etc/passwd")
    said = vh("exec", "run", "--adhoc", "hello", rc=1)
    assert (
        'data:\n  * the package is refused: the symbolic link "ä" points out of the package, to "/etc/passwd"' in said
    )
    assert uploaded(api) == []
