"""Submodules and Git LFS files in the container, and what an execution reports if they cannot be fetched."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from git_over_http import GitServer, served
from instance import Checkout, Instance, running
from lfs_client import track
from made_repository import MadeRepository

pytestmark = [pytest.mark.docker, pytest.mark.redis]

CONFIG = """
[git]
allow_http = true
submodule_hosts = ["127.0.0.1"]
[runner]
memory = "300 MiB"
"""


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    with running(tmp_path_factory.mktemp("sources"), CONFIG) as found:
        yield found


@pytest.fixture
def forge(tmp_path: Path) -> Iterator[GitServer]:
    (tmp_path / "forge").mkdir()
    with served(tmp_path / "forge") as server:
        server.public = "/git/"
        yield server


def step(*commands: str) -> str:
    items = "\n".join(f"      - {json.dumps(command)}" for command in commands)
    return f"- step:\n    name: read\n    image: pushmill-test-busybox\n    command:\n{items}\n"


def with_submodule(checkout: Checkout, url: str, sha: str, *commands: str) -> None:
    checkout.git("update-index", "--add", "--cacheinfo", f"160000,{sha},vendor/lib")
    (checkout.folder / "vendor" / "lib").mkdir(parents=True)
    text = f'[submodule "lib"]\n\tpath = vendor/lib\n\turl = {url}\n'
    for name, content in ((".gitmodules", text), ("valohai.yaml", step(*commands))):
        (checkout.folder / name).write_text(content)
        checkout.git("add", name)
    checkout.git("commit", "-q", "-m", "with a submodule")


def test_submodules_and_theirs_are_in_the_container(
    instance: Instance, checkout: Checkout, forge: GitServer, tmp_path: Path
) -> None:
    deep = MadeRepository(tmp_path / "forge" / "deep.git").commit({"deep.txt": b"deep\n"})
    lib = MadeRepository(tmp_path / "forge" / "lib.git")
    modules = lib.blob(b'[submodule "d"]\n\tpath = deep\n\turl = ../deep.git\n')
    files = [
        ("100644", b".gitmodules", modules),
        ("100644", b"a.txt", lib.blob(b"shallow\n")),
        ("160000", b"deep", deep),
    ]
    sha = lib.commit_tree(lib.tree(*files))
    with_submodule(checkout, f"{forge.url}/git/lib.git", sha, "cat vendor/lib/a.txt vendor/lib/deep/deep.txt")
    checkout.push(instance.git_url("modules"))
    execution = instance.run("modules", "read")
    assert execution["status"] == "complete"
    assert instance.events(execution["id"], "stdout") == ["shallow", "deep"]


def test_a_submodule_that_is_missing_is_named_before_anything_starts(
    instance: Instance, checkout: Checkout, forge: GitServer
) -> None:
    with_submodule(checkout, f"{forge.url}/git/absent.git", "f" * 40, "echo started")
    checkout.push(instance.git_url("incomplete"))
    execution = instance.run("incomplete", "read")
    assert execution["status"] == "error"
    said = instance.events(execution["id"], "status")
    assert any(line.startswith("Missing: vendor/lib: ") and "absent.git" in line for line in said)
    assert instance.events(execution["id"], "stdout") == []
    assert not any("Command 1 of 1" in line for line in said)


def test_a_directory_that_gitmodules_does_not_name_stays_empty_and_each_execution_says_so(
    instance: Instance, checkout: Checkout
) -> None:
    checkout.git("update-index", "--add", "--cacheinfo", f"160000,{'f' * 40},stray")
    (checkout.folder / "stray").mkdir()
    for name in ("first", "second"):  # the second finds the tree
        (checkout.folder / "valohai.yaml").write_text(step("echo here") + step("echo here").replace("read", "again"))
        checkout.git("add", "valohai.yaml")
        checkout.git("commit", "-q", "--allow-empty", "-m", name)
    checkout.push(instance.git_url("stray"))
    for name in ("read", "again"):
        execution = instance.run("stray", name)
        assert execution["status"] == "complete"
        said = instance.events(execution["id"], "status")
        assert "stray is left as it is: .gitmodules does not name it" in said


@pytest.mark.lfs
def test_git_lfs_files_of_a_submodule_are_in_the_container(
    instance: Instance, checkout: Checkout, forge: GitServer, tmp_path: Path
) -> None:
    lib, content = Checkout(tmp_path / "lib"), b"weights\n" * 1000
    track(lib)
    sha = lib.commit({"model.bin": content})
    MadeRepository(tmp_path / "forge" / "lib.git")
    lib.git("push", "-q", f"{forge.url}/git/lib.git", "HEAD:main")
    with_submodule(
        checkout, f"{forge.url}/git/lib.git", sha, "cat vendor/lib/model.bin | (read first; echo $first)",
        "echo x >> vendor/lib/model.bin",
    )  # fmt: skip
    checkout.push(instance.git_url("weights"))
    execution = instance.run("weights", "read")
    assert instance.events(execution["id"], "stdout") == ["weights"]
    assert execution["status"] == "complete"
    assert any(line.startswith("Receiving 1 Git LFS file") for line in instance.events(execution["id"], "status"))


@pytest.mark.lfs
def test_git_lfs_files_that_were_pushed_to_this_server_are_in_the_container(
    instance: Instance, checkout: Checkout
) -> None:
    track(checkout)
    checkout.commit({"valohai.yaml": step("cat data.bin"), "data.bin": b"large\n"})
    checkout.push(instance.git_url("hosted"))
    execution = instance.run("hosted", "read")
    assert instance.events(execution["id"], "stdout") == ["large"]
    assert execution["status"] == "complete"
