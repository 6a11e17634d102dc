from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from core import trees
from core.errors import ExecutionFailed
from core.states import FailureReason
from runner import outputs
from runner.outputs import OutputFile


@pytest.fixture
def top(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "outputs").mkdir()
    yield tmp_path / "outputs"
    assert trees.remove(tmp_path / "outputs")  # at any depth, of which pytest is not capable


def collect(top: Path, max_count: int = 1000, max_bytes: int = 10**9) -> tuple[list[OutputFile], list[str]]:
    lines: list[str] = []
    remarks = outputs.Remarks(lines.append)
    found = list(outputs.collect(top, max_count=max_count, max_bytes=max_bytes, remarks=remarks))
    remarks.finish()
    return found, lines


def content(file: OutputFile) -> bytes:
    with file.open() as opened:
        return opened.read()


def test_every_regular_file_is_found_in_one_order(top: Path) -> None:
    (top / "sub/deeper").mkdir(parents=True)
    (top / "empty-directory").mkdir()
    for name, data in {"b": b"2", "a": b"1", ".hidden": b"h", "empty": b"", "sub/deeper/c": b"33"}.items():
        (top / name).write_bytes(data)
    os.link(top / "a", top / "hard-link")
    (top / "a").chmod(0o6555)
    files, lines = collect(top)
    expected = {".hidden": b"h", "a": b"1", "b": b"2", "empty": b"", "hard-link": b"1", "sub/deeper/c": b"33"}
    assert [(file.name, content(file)) for file in files] == list(expected.items())
    assert [file.size for file in files] == [len(data) for data in expected.values()]
    assert lines == []


def test_what_is_no_regular_file_is_named_and_never_opened(top: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/secret").write_text("secret")
    (top / "link").symlink_to("/etc/passwd")
    (top / "loop").symlink_to(".")
    (top / "directory").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(top / "pipe")  # opening it for reading would wait for ever
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(top / "sock"))
    listener.close()
    if os.geteuid() == 0:
        os.mknod(top / "zdevice", 0o20666, os.makedev(1, 3))
    files, lines = collect(top)
    assert files == []
    assert lines[:5] == [
        "outputs/directory is a symbolic link; not kept",
        "outputs/link is a symbolic link; not kept",
        "outputs/loop is a symbolic link; not kept",
        "outputs/pipe is a named pipe; not kept",
        "outputs/sock is a socket; not kept",
    ]
    assert lines[5:] in ([], ["outputs/zdevice is a device; not kept"])


def test_names_are_data(top: Path) -> None:
    for name in (b"new\nline", b"\xffbytes", "ü".encode(), b"-rf", b"%41", b"a\x1b[2Jb"):
        (top / os.fsdecode(name)).write_bytes(name)
    files, _ = collect(top)
    assert [file.name for file in files] == ["%41", "-rf", "a\x1b[2Jb", "new\nline", "ü", "%FFbytes"]
    assert content(files[-1]) == b"\xffbytes"


def test_a_status_line_stays_one_line_whatever_the_name(top: Path) -> None:
    (top / "a\nb\x1b[2J").symlink_to("x")
    assert collect(top)[1] == ["outputs/a?b?[2J is a symbolic link; not kept"]


def test_very_deep_directories_are_left_and_named(top: Path) -> None:
    descriptor = os.open(top, os.O_RDONLY)
    for _ in range(3000):  # deeper than any path may be long
        os.mkdir("d", dir_fd=descriptor)
        below = os.open("d", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(descriptor)
    (top / "z").write_text("kept")
    files, lines = collect(top)
    assert [file.name for file in files] == ["z"]
    assert len(lines) == 1
    assert lines[0].endswith("is nested deeper than 100 directories; not kept")


def test_limits_are_named_with_what_was_left(top: Path) -> None:
    for number in range(5):
        (top / f"f{number}").write_bytes(bytes(1000))
    for limits, kept, sentence in (
        (
            {"max_count": 3, "max_bytes": 9999},
            ["f0", "f1", "f2"],
            "3 output files ([limits] output_count) is reached; 2 files are not kept (1.95 KiB)",
        ),
        (
            {"max_count": 9, "max_bytes": 4000},
            ["f0", "f1", "f2", "f3"],
            "3.91 KiB of outputs ([limits] output_bytes) is reached; 1 file is not kept (1000 B)",
        ),
    ):
        found = outputs.collect(top, **limits, remarks=outputs.Remarks(lambda line: None))
        assert [next(found).name for _ in kept] == kept
        with pytest.raises(ExecutionFailed, match=re.escape(f"The limit of {sentence}")) as failed:
            next(found)
        assert failed.value.reason is FailureReason.OUTPUT


def test_a_file_that_does_not_fit_leaves_room_for_smaller_ones(top: Path) -> None:
    for name, size in (("a", 600), ("b", 500), ("c", 400)):
        (top / name).write_bytes(bytes(size))
    found = outputs.collect(top, max_count=9, max_bytes=1000, remarks=outputs.Remarks(lambda line: None))
    assert [next(found).name, next(found).name] == ["a", "c"]
    with pytest.raises(ExecutionFailed, match=re.escape("1 file is not kept (500 B)")):
        next(found)


def test_many_odd_entries_are_counted_not_listed(top: Path) -> None:
    for number in range(80):
        (top / f"l{number:02}").symlink_to("x")
    lines = collect(top)[1]
    assert len(lines) == 51
    assert lines[-1] == "30 more entries of outputs are not kept"


@pytest.mark.parametrize("swap", ["link", "pipe", "other file", "grown", "gone", "directory"])
def test_what_was_swapped_after_it_was_found_is_not_read(top: Path, tmp_path: Path, swap: str) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/file").write_text("secret")
    (top / "sub").mkdir()
    file = top / "sub/file"
    file.write_text("mine")
    files, _ = collect(top)
    if swap == "grown":
        file.write_text("mine and more")
    else:
        file.rename(tmp_path / "kept, so that its inode is not used again")
    if swap == "link":
        file.symlink_to(tmp_path / "secrets/file")
    elif swap == "pipe":
        os.mkfifo(file)
    elif swap == "other file":
        file.write_text("not!")
    elif swap == "directory":
        file.parent.rmdir()
        file.parent.symlink_to(tmp_path / "secrets")
    with pytest.raises(ExecutionFailed, match=r"it changed while it was stored: ") as failed:
        files[0].open()
    assert failed.value.reason is FailureReason.OUTPUT


def test_a_missing_outputs_directory_is_an_error(top: Path) -> None:
    top.rmdir()
    with pytest.raises(ExecutionFailed, match="cannot be read"):
        collect(top)
    top.symlink_to("/etc")
    with pytest.raises(ExecutionFailed, match="cannot be read"):
        collect(top)
