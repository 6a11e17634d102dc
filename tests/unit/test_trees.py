"""Directory trees of hostile containers are removed and measured with few descriptors, whatever their depth."""

from __future__ import annotations

import os
import resource
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from core import trees

NOBODY = 65534


def nest(top: Path, depth: int, name: str = "d") -> None:
    """Directories inside each other, deeper than a path may be long."""
    top.mkdir(parents=True, exist_ok=True)
    here = os.open(top, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    file = os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=here)
    os.write(file, b"x")
    os.close(file)
    os.close(here)


@contextmanager
def few_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = max(int(name) for name in os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 8, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def memory() -> Iterator[Path]:
    """A directory in memory: on a busy disk each of 100,000 directories may take a millisecond."""
    directory = Path(tempfile.mkdtemp(dir="/dev/shm"))
    yield directory
    assert trees.remove(directory)


@pytest.mark.parametrize("depth", [0, 1, 1_500, 100_000])
def test_depth_needs_neither_stack_nor_descriptors(memory: Path, depth: int) -> None:
    nest(memory / "top", depth)
    with few_descriptors():
        assert trees.remove(memory / "top")
    assert os.listdir(memory) == []


def test_a_bushy_tree_with_every_kind_of_entry_is_removed_and_links_are_not_followed(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    nest(kept, 3)
    top = tmp_path / "top"
    for number in range(5):
        nest(top / f"{number}", 5)
        nest(top / f"{number}" / "d" / "d" / "other", 2)
    (top / "0" / "link").symlink_to(kept)
    (top / "0" / "d" / "loop").symlink_to("..")
    os.mkfifo(top / "1" / "pipe")
    (top / "2" / os.fsdecode(b"\xff\n")).write_text("x")
    assert trees.remove(top)
    assert (kept / "d" / "d" / "d" / "file").exists()
    (tmp_path / "link").symlink_to(kept)
    assert trees.remove(tmp_path / "link")
    assert os.listdir(tmp_path) == ["kept"]
    assert trees.remove(tmp_path / "absent")
    (tmp_path / "plain").write_text("x")
    assert trees.remove(tmp_path / "plain")


def test_modes_without_any_right_are_no_obstacle_to_their_owner(tmp_path: Path) -> None:
    top = tmp_path / "top"
    nest(top, 4)
    nest(top / "d" / "d" / "e", 1)
    paths = [top, *top.rglob("*")]
    for path in reversed(paths):
        path.chmod(0)
        os.chown(path, NOBODY, -1) if os.geteuid() == 0 else None  # root may do everything, which shows nothing
    if child := os.fork():
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    else:
        os.chdir(tmp_path)
        tmp_path.chmod(0o777)
        os.setuid(NOBODY) if os.geteuid() == 0 else None
        os._exit(0 if trees.remove(Path("top")) else 1)
    assert os.listdir(tmp_path) == []


def test_what_is_written_meanwhile_is_removed_too(tmp_path: Path) -> None:
    top = tmp_path / "top"
    nest(top, 300)
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            try:
                (top / f"new{number}").mkdir()
                (top / f"new{number}" / "file").write_text("x")
                shutil.move(top / f"new{number}", top / "moved")
            except OSError:
                pass

    writer = threading.Thread(target=write)
    writer.start()
    gone = trees.remove(top, limit_s=0.2)
    stop.set()
    writer.join()
    assert gone or trees.remove(top)
    assert not top.exists()


def test_a_removal_without_time_left_says_so_and_is_continued_by_the_next(tmp_path: Path) -> None:
    nest(tmp_path / "top", 10)
    assert not trees.remove(tmp_path / "top", limit_s=-1.0)
    assert trees.remove(tmp_path / "top")


def test_the_size_of_a_tree_is_that_of_all_its_files_at_any_depth(tmp_path: Path, memory: Path) -> None:
    for part in ("a", "b/c", "b/d/e"):
        (tmp_path / "top" / part).mkdir(parents=True)
        (tmp_path / "top" / part / "file").write_bytes(bytes(100_000))
    (tmp_path / "big").write_bytes(bytes(10_000_000))
    (tmp_path / "top" / "link").symlink_to(tmp_path / "big")
    known = sum(path.lstat().st_blocks * 512 for path in (tmp_path / "top").rglob("*"))
    assert trees.measure_size(tmp_path / "top") == known >= 300_000
    nest(memory / "deep", 5_000)
    assert trees.measure_size(memory / "absent") == 0
    with few_descriptors():
        assert trees.measure_size(memory / "deep") == 4096  # a page: directories have no blocks in memory
