from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from made_repository import MadeRepository

from core import git
from core.errors import GitError


@pytest.fixture
def made(tmp_path: Path) -> MadeRepository:
    return MadeRepository(tmp_path / "made.git")


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "target").mkdir(mode=0o700)
    return tmp_path / "target"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_files_links_and_modes_come_out_whatever_the_umask(made: MadeRepository, target: Path) -> None:
    blob, link = made.blob(b"content"), made.blob(b"inner/plain")
    inner = made.tree(("100644", b"plain", blob), ("100755", b"run", blob))
    tree = made.tree(("40000", b"inner", inner), ("120000", b"link", link), ("160000", b"submodule", "1" * 40))
    sha = made.commit_tree(tree)
    before = os.umask(0o077)
    try:
        git.export(made.path, sha, target)
    finally:
        os.umask(before)
    assert (target / "inner/plain").read_bytes() == b"content"
    assert mode(target) == mode(target / "inner") == mode(target / "submodule") == 0o777
    assert (mode(target / "inner/plain"), mode(target / "inner/run")) == (0o666, 0o777)
    assert os.readlink(target / "link") == "inner/plain"
    assert list((target / "submodule").iterdir()) == []


def test_names_are_bytes_not_text(made: MadeRepository, target: Path) -> None:
    blob = made.blob(b"x")
    names = [b"\xff\xfe", b"-rf", b"a\nb", "ü".encode(), b"{param}"]
    sha = made.commit_tree(made.tree(*(("100644", name, blob) for name in sorted(names))))
    git.export(made.path, sha, target)
    assert sorted(os.listdir(os.fsencode(target))) == sorted(names)


@pytest.mark.parametrize("name", [b"..", b".", b".git", b".GIT", b"git~1", b"a/b", b"../x"])
def test_a_name_that_git_refuses_is_refused(made: MadeRepository, target: Path, name: bytes) -> None:
    blob = made.blob(b"x")
    sha = made.commit_tree(made.tree(("100644", name, blob)))
    with pytest.raises(GitError, match="a name that git rejects"):
        git.export(made.path, sha, target)
    assert list(target.iterdir()) == []


def test_a_link_and_a_directory_of_one_name_do_not_lead_out(made: MadeRepository, target: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    blob, link = made.blob(b"stolen"), made.blob(os.fsencode(outside))
    inner = made.tree(("100644", b"file", blob))
    for entries in (
        (("120000", b"twice", link), ("40000", b"twice", inner)),
        (("40000", b"twice", inner), ("120000", b"twice", link)),
    ):
        sha = made.commit_tree(made.tree(*entries))
        with pytest.raises(GitError, match="'twice' twice"):
            git.export(made.path, sha, _below(target))
    assert list(outside.iterdir()) == []


def _below(directory: Path) -> Path:
    fresh = directory / f"{len(list(directory.iterdir()))}"
    fresh.mkdir()
    return fresh


def test_a_few_objects_cannot_stand_for_endless_files(made: MadeRepository, target: Path) -> None:
    blob = made.blob(b"0123456789")
    tree = made.tree(*(("100644", b"%d" % n, blob) for n in range(10)))
    for _ in range(8):
        tree = made.tree(*(("40000", b"%d" % n, tree) for n in range(10)))
    sha = made.commit_tree(tree)
    for limits in ({"max_entries": 500}, {"max_bytes": 5000}):
        with pytest.raises(GitError, match="too large"):
            git.export(made.path, sha, _below(target), **limits)
    assert 900 < sum(len(files) for _, _, files in os.walk(target)) <= 1000


def test_depth_is_limited(made: MadeRepository, target: Path) -> None:
    tree = made.tree(("100644", b"f", made.blob(b"x")))
    for _ in range(300):
        tree = made.tree(("40000", b"d", tree))
    sha = made.commit_tree(tree)
    with pytest.raises(GitError, match="deeper than 200"):
        git.export(made.path, sha, target)


def test_a_file_larger_than_memory_may_hold_is_streamed(made: MadeRepository, target: Path) -> None:
    sha = made.commit_tree(made.tree(("100755", b"large", made.blob(bytes(300_000_000) + b"end"))))
    forget_peak_memory()
    before = peak_memory()
    git.export(made.path, sha, target)
    assert peak_memory() - before < 50_000
    with (target / "large").open("rb") as file:
        file.seek(300_000_000)
        assert file.read() == b"end"
    assert mode(target / "large") == 0o777


def forget_peak_memory() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def peak_memory() -> int:
    """Of this process since it was forgotten, in kB."""
    return next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line)


def test_a_missing_commit_is_an_error(made: MadeRepository, target: Path) -> None:
    with pytest.raises(GitError):
        git.export(made.path, "0" * 40, target)
