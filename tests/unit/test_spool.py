from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runner.logs import spool
from runner.logs.line_assembler import LineAssembler
from runner.logs.masking import Masker
from runner.logs.spool import StatusWriter, Tail

MIB = 1024 * 1024
MARKS = (b"\x02pushmill start 2\x03\n", b"\x02pushmill exit 2 1\x03\n")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    spool.make(tmp_path / "spool", "true\n", {})
    return tmp_path / "spool"


@pytest.fixture
def tail(directory: Path) -> Iterator[Tail]:
    tail = Tail(directory, "stdout", offset=0, limit=4 * MIB, masker=Masker())
    yield tail
    tail.close()


def append(directory: Path, data: bytes) -> None:
    with open(directory / "stdout", "ab") as file:
        file.write(data)


def test_a_spool_is_made_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="Invalid argument"):
        spool.make(tmp_path / "spool", "true\n", {"commands": -1})  # like a kill: it ends in the middle
    assert not (tmp_path / "spool").exists()
    spool.make(tmp_path / "spool", "true\n", {})
    assert {path.name for path in (tmp_path / "spool").iterdir()} >= set(spool.MOUNTED)
    assert [path.name for path in tmp_path.iterdir()] == ["spool"]


def test_the_container_may_write_and_the_directory_stays_ours(directory: Path) -> None:
    modes = {path.name: path.stat().st_mode & 0o777 for path in directory.iterdir()}
    assert modes.pop("status") == modes.pop("seen") == 0o600
    assert modes.pop("main") == modes.pop("script") == 0o755
    assert set(modes.values()) == {0o666}
    assert directory.stat().st_mode & 0o777 == 0o700


def test_acknowledged_bytes_give_their_disk_back(directory: Path, tail: Tail) -> None:
    append(directory, b"x" * 99 + b"\n" + b"y" * (3 * MIB))
    os.sync()
    before = (directory / "stdout").stat().st_blocks
    tail.release(3 * MIB)
    after = (directory / "stdout").stat()
    assert after.st_blocks <= before // 4
    assert after.st_size == 3 * MIB + 100


def read_all(tail: Tail) -> bytes:
    text = b""
    while tail.unread:
        tail.skip()
        lines = tail.read()
        text += lines.text if lines else b""
    return text + (rest.text if (rest := tail.flush()) else b"")


def test_of_a_stream_past_its_limit_the_first_half_is_read_and_the_newest_part(directory: Path, tail: Tail) -> None:
    lines = [b"%099d\n" % number for number in range(100_000)]
    append(directory, b"".join(lines[:60_000]))
    tail.release(0)  # the server is away
    append(directory, b"".join(lines[60_000:]))
    tail.release(0)
    assert (directory / "stdout").stat().st_blocks * 512 < 5 * MIB
    assert not tail.past_head
    read = read_all(tail)
    assert tail.past_head
    head = 2 * MIB // 100
    assert read.startswith(b"".join(lines[:head]))
    rest = read.splitlines(keepends=True)[head:]
    assert rest == lines[-len(rest) :]
    assert 1.4 * MIB < 100 * len(rest) <= 2 * MIB
    tail.release(10_000_000)
    assert (directory / "stdout").stat().st_blocks * 512 < 2 * MIB


def test_nothing_is_left_out_of_a_stream_that_is_read_in_time(directory: Path, tail: Tail) -> None:
    lines = [b"%099d\n" % number for number in range(100_000)]
    read = b""
    for first in range(0, 100_000, 5000):
        append(directory, b"".join(lines[first : first + 5000]))
        read += read_all(tail)
        tail.release(len(read))
    assert read == b"".join(lines)


def test_the_beginning_of_a_mark_waits_for_its_end(directory: Path, tail: Tail) -> None:
    append(directory, b"line\n" + MARKS[0][:9])
    lines = tail.read(MARKS.__contains__)
    assert lines
    assert lines.text == b"line\n"
    append(directory, MARKS[0][9:])
    assert tail.read(MARKS.__contains__) is None
    assert tail.mark == MARKS[0]


def test_a_spool_for_a_later_attempt_begins_behind_what_the_server_has(tmp_path: Path) -> None:
    spool.make(tmp_path / "spool", "true\n", {"stdout": 1000, "status": 70})
    append(tmp_path / "spool", b"new\n")
    tail = Tail(tmp_path / "spool", "stdout", offset=1000, limit=MIB, masker=Masker())
    lines = tail.read()
    tail.close()
    assert lines is not None
    assert (lines.text, lines.start, lines.end) == (b"new\n", 1000, 1004)


def test_a_link_in_place_of_a_spool_file_is_not_followed(directory: Path) -> None:
    (directory / "stdout").unlink()
    (directory / "stdout").symlink_to("/etc/passwd")
    with pytest.raises(OSError, match="symbolic links"):
        Tail(directory, "stdout", offset=0, limit=MIB, masker=Masker())


def test_a_status_is_one_line_whatever_it_says(directory: Path) -> None:
    status = StatusWriter(directory, Masker())
    status("a\nb\rc \ud800")
    status.close()
    assert (directory / "status").read_bytes() == b"a b c ?\n"


def lines_around_marks(data: bytes) -> bytes:
    assembler, text = LineAssembler(), b""
    for piece in [*re.split(b"(" + b"|".join(map(re.escape, MARKS)) + b")", data), MARKS[0]]:
        lines = assembler.flush() if piece in MARKS else assembler.feed(piece)
        text += lines.text if lines else b""
    return text


@given(st.lists(st.sampled_from([b"a", b"\n", b"\r", b"\x02pushmill ", b"\x02", MARKS[0], MARKS[1]]), max_size=30))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_reading_stops_at_each_mark_and_keeps_every_other_byte(tmp_path: Path, parts: list[bytes]) -> None:
    """However the file grows, and from wherever the server says that it has come to."""
    with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
        directory = Path(folder) / "spool"
        spool.make(directory, "true\n", {})
        tail = Tail(directory, "stdout", offset=0, limit=4 * MIB, masker=Masker())
        offset, text, marks = 0, b"", []

        def drain(quiet: bool) -> None:
            nonlocal offset, text
            while tail.unread or tail.mark:
                if tail.mark:
                    marks.append(tail.mark)
                    tail.pass_mark()
                before = tail.unread
                if lines := tail.read(MARKS.__contains__, quiet=quiet):
                    assert lines.start == offset
                    offset, text = lines.end, text + lines.text
                if not tail.mark and tail.unread == before:
                    return

        for part in parts:
            append(directory, part)
            drain(quiet=False)
        drain(quiet=True)
        if rest := tail.flush():
            assert rest.start == offset
            text += rest.text
        tail.close()
    assert text == lines_around_marks(b"".join(parts))
    assert marks == [part for part in parts if part in MARKS]
