"""Packs that pushmill writes are valid for git."""

from __future__ import annotations

import os
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from core import git
from core.errors import GitError
from core.git import PackageSpool, pack
from core.git.pack import LARGE_OFFSET, PackedObject
from core.packages import EXECUTABLE, FILE, LINK, PackageEntry

SEVERAL_PARTS = os.urandom(3 * pack.CHUNK // 2)
FILES: dict[bytes, tuple[bytes, bytes]] = {
    b"0": (FILE, b""),
    b"a.b": (FILE, b"x" * 15),  # sizes around those whose header needs one byte more
    b"a/b": (FILE, b"x" * 16),
    b"a0": (FILE, b"x" * 2047),
    b"folder/deep/er": (EXECUTABLE, b"x" * 2048),
    b"folder/twice": (FILE, SEVERAL_PARTS),
    b"folder/twice too": (FILE, SEVERAL_PARTS),
    b"link": (LINK, b"folder/deep"),
}


def in_git(path: Path, *arguments: str, stdin: bytes = b"") -> bytes:
    command = ["git", f"--git-dir={path}", *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, check=True).stdout


def packs(path: Path) -> list[Path]:
    return sorted((path / "objects" / "pack").glob("*.pack"))


def write(path: Path, name: str, files: dict[bytes, tuple[bytes, bytes]], level: int = 0) -> str:
    with closing(PackageSpool(path.parent, level=level)) as spool:
        for place, (mode, content) in files.items():
            parts = iter([content[:10], content[10:]])
            entry = PackageEntry(path=place, mode=mode, size=len(content), content=parts)
            assert spool.add_entry(entry, keep=12) == content[:12]
        sha = spool.add_commit(author="ada", message="first\n\nmore", seconds=7)
        with git.locked(path):
            return git.write_commit(path, name, spool, sha)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git.init_mirror(tmp_path / "repository.git")
    return tmp_path / "repository.git"


@pytest.mark.parametrize("level", [0, 1])
def test_git_finds_every_file_as_it_was(repository: Path, level: int) -> None:
    sha = write(repository, "one", FILES, level)
    in_git(repository, "fsck", "--strict", "--full")
    in_git(repository, "verify-pack", *map(str, packs(repository)))
    lines = in_git(repository, "ls-tree", "-r", "-z", sha).split(b"\0")[:-1]
    assert {line.split(b"\t")[1]: line[:6] for line in lines} == {name: mode for name, (mode, _) in FILES.items()}
    for name, (_, content) in FILES.items():
        assert in_git(repository, "cat-file", "blob", f"{sha}:{name.decode()}") == content
    assert in_git(repository, "log", "-1", "--format=%an %ae %at %cn %ct %B", sha) == b"ada  7 ada 7 first\n\nmore\n"
    assert git.list_adhoc_commits(repository) == {"one": sha}


def test_an_object_is_written_once(repository: Path) -> None:
    write(repository, "one", FILES)
    assert packs(repository)[0].stat().st_size < 2 * len(SEVERAL_PARTS)
    second = write(repository, "two", FILES | {b"new": (FILE, b"new")})
    assert sum(pack.stat().st_size for pack in packs(repository)) < 2 * len(SEVERAL_PARTS)
    assert len(packs(repository)) == 2
    in_git(repository, "fsck", "--strict", "--full")
    assert write(repository, "three", FILES | {b"new": (FILE, b"new")}) == second
    assert write(repository, "two", FILES) == second
    assert len(packs(repository)) == 2


def test_a_pack_beyond_2_gib_has_large_offsets() -> None:
    offsets = [12, LARGE_OFFSET - 1, LARGE_OFFSET, LARGE_OFFSET + 10, 5 * LARGE_OFFSET]
    names = [bytes([first]) * 20 for first in (0, 1, 1 << 7, 254, 255)]
    objects = {name: PackedObject(0, 1, crc) for crc, name in enumerate(names)}
    index = pack._index(objects, offsets, b"c" * 20)
    shown = subprocess.run(["git", "show-index"], input=index, capture_output=True, check=True).stdout.decode()
    assert [line.split()[:2] for line in shown.splitlines()] == [
        [str(offset), name.hex()] for offset, name in zip(offsets, names, strict=True)
    ]


def test_a_partial_pack_of_a_killed_process_is_removed_by_the_next_upload(repository: Path) -> None:
    left = repository / "objects" / "pack" / f"{pack.PARTIAL}x"
    left.write_bytes(b"x")
    write(repository, "one", FILES)
    assert not left.exists()
    assert sorted(path.suffix for path in left.parent.iterdir()) == [".idx", ".pack"]


@pytest.mark.root
def test_a_full_disk_leaves_nothing_in_the_repository(small_disk: Path) -> None:
    path = small_disk / "repository.git"
    git.init_mirror(path)
    free = os.statvfs(small_disk)
    large = os.urandom(free.f_bavail * free.f_frsize * 2 // 3)  # it fits once
    with pytest.raises(GitError):
        write(path, "one", {b"large": (FILE, large)})
    assert list((path / "objects" / "pack").iterdir()) == []
    assert git.list_adhoc_commits(path) == {}
