"""The log of an execution on disk: appended lines are read again, whatever happened in between."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from api_server import ApiServer
from hypothesis import example, given, settings
from hypothesis import strategies as st

from core.model import Execution
from core.wire import STREAMS, LogBatch
from web.store import logs
from web.store.db import Database, transaction
from web.store.log_files import RECORD
from web.store.logs import MESSAGE_BYTES, LogLine


class Log:
    """One execution's log with the database that knows its length."""

    def __init__(self, db: Database, logs_dir: Path, execution: Execution) -> None:
        self.db, self.logs_dir, self.execution = db, logs_dir, execution

    limit = 0

    def append(self, text: bytes, stream: str = "stdout", first_us: int = 0, last_us: int = 0) -> None:
        with transaction(self.db):
            at = logs.get_length(self.db, self.execution, self.limit)
            start = at.acknowledged[stream]
            batch = LogBatch(
                attempt=1, stream=stream, start=start, end=start + len(text), first_us=first_us, last_us=last_us
            )
            lines = logs.WholeLines(text, text.count(b"\n"))
            logs.append(self.db, self.logs_dir, self.execution, at, batch, lines)

    def read(self, first: int = 0, count: int = 10**9, stream: str | None = None) -> list[LogLine]:
        at = logs.get_length(self.db, self.execution)
        return list(logs.read(self.logs_dir, self.execution, at, first, count, stream))

    @property
    def paths(self) -> tuple[Path, Path]:
        folder, name = self.logs_dir / self.execution.uuid[:2], self.execution.uuid
        return folder / f"{name}.log", folder / f"{name}.index"


@pytest.fixture
def log(api: ApiServer) -> Log:
    """An empty log."""
    execution = api.add_execution()
    for path in logs.list_files(api.config.logs_dir, execution):
        path.unlink()
    with transaction(api.db):
        sql = "UPDATE execution SET log_bytes = 0, log_lines = 0, log_segments = 0, log_last_us = 0"
        api.db.conn.execute(sql)
    return Log(api.db, api.config.logs_dir, execution)


def test_lines_come_back_in_order_with_their_streams(log: Log) -> None:
    log.append(b"one\ntwo\n")
    log.append(b"oops\n", "stderr")
    log.append(b"\n\xff\n")
    assert [(line.number, line.stream, line.message) for line in log.read()] == [
        (0, "stdout", b"one"), (1, "stdout", b"two"), (2, "stderr", b"oops"), (3, "stdout", b""), (4, "stdout", b"\xff"),
    ]  # fmt: skip
    assert [line.number for line in log.read(stream="stderr")] == [2]


def test_any_range_is_found_across_many_segments(log: Log) -> None:
    for i in range(200):
        log.append(b"".join(b"%d.%d\n" % (i, j) for j in range(i % 4)))
    everything = log.read()
    assert len(everything) == 300
    for first, count in [(0, 1), (0, 0), (149, 3), (299, 5), (300, 5), (7, 100), (298, 1)]:
        assert log.read(first, count) == everything[first : first + count]


def test_lines_of_one_batch_share_the_time_they_were_printed_in(log: Log) -> None:
    log.append(b"a\nb\nc\nd\n", first_us=1_000_000, last_us=5_000_000)
    assert [line.time_us for line in log.read()] == [1_000_000, 2_000_000, 3_000_000, 4_000_000]


def test_times_never_go_back_or_repeat_even_when_the_clock_does(log: Log) -> None:
    log.append(b"a\nb\n", first_us=5_000_000, last_us=5_000_000)
    log.append(b"c\nd\n", "stderr", first_us=1_000_000, last_us=2_000_000)
    log.append(b"e\n" * 50, first_us=5_000_000, last_us=5_000_010)
    times = [line.time_us for line in log.read()]
    assert all(earlier < later for earlier, later in pairwise(times))


def test_what_a_killed_writer_left_is_neither_read_nor_kept(log: Log) -> None:
    log.append(b"kept\n")
    for path in log.paths:
        with path.open("ab") as file:
            file.write(b"left by somebody who was killed before the commit\n" * 3)
    assert [line.message for line in log.read()] == [b"kept"]
    log.append(b"next\n")
    assert [line.message for line in log.read()] == [b"kept", b"next"]
    text, index = log.paths
    assert text.read_bytes() == b"kept\nnext\n"
    assert index.stat().st_size == 2 * RECORD.size


def test_a_transaction_that_fails_leaves_the_log_as_it_was(log: Log) -> None:
    log.append(b"kept\n")
    with pytest.raises(ZeroDivisionError), transaction(log.db):
        at = logs.get_length(log.db, log.execution)
        batch = LogBatch(attempt=1, stream="stdout", start=5, end=10, first_us=0, last_us=0)
        logs.append(log.db, log.logs_dir, log.execution, at, batch, logs.WholeLines(b"gone\n", 1))
        _ = 1 / 0
    log.append(b"next\n")
    assert [line.message for line in log.read()] == [b"kept", b"next"]


def shown(log: Log, *range_: int) -> list[bytes | int]:
    """Messages, and for lines that report missing ones their number."""
    lines = log.read(*range_)
    numbers = [line.number for line in lines]
    assert numbers == sorted(set(numbers))
    return [line.count if line.stream == "status" else line.message for line in lines]


def truncated(path: Path, size: int) -> None:
    with path.open("r+b") as file:
        file.truncate(size)


@pytest.mark.parametrize("cut", [0, 7, 12])
def test_lines_that_a_power_failure_took_are_reported_as_missing(log: Log, cut: int) -> None:
    log.append(b"one\ntwo\n")
    log.append(b"three\n")
    truncated(log.paths[0], cut)
    before = {0: [3], 7: [b"one", 2], 12: [b"one", b"two", 1]}[cut]
    assert shown(log) == before
    log.append(b"four\n")
    assert shown(log) == [*before, b"four"]
    assert shown(log, 2, 1) == [1]


def test_without_its_files_a_log_reports_every_line_as_missing_and_goes_on(log: Log) -> None:
    log.append(b"one\ntwo\n")
    log.append(b"oops\n", "stderr")
    for path in log.paths:
        path.unlink()
    assert shown(log) == [3]
    (line,) = log.read()
    assert line.text == "3 lines of the log are missing: the log's file on the server was lost or damaged"
    log.append(b"four\n")
    assert shown(log) == [3, b"four"]
    assert shown(log, 1, 5) == [2, b"four"]
    assert [line.count for line in log.read(stream="status")] == [3]


@pytest.mark.parametrize("records", range(5))
def test_a_lost_end_of_the_index_costs_its_lines_alone(log: Log, records: int) -> None:
    for number in range(5):
        log.append(b"a%d\nb%d\n" % (number, number))
    truncated(log.paths[1], records * RECORD.size + 7)
    kept = [b"%s%d" % (name, number) for number in range(records) for name in (b"a", b"b")]
    assert shown(log) == [*kept, 10 - 2 * records]
    log.append(b"new\n")
    assert shown(log) == [*kept, 10 - 2 * records, b"new"]
    for first in range(11):
        assert shown(log, first, 1) == ([kept[first]] if first < len(kept) else [1] if first < 10 else [b"new"])


@given(text=st.binary(max_size=200), index=st.binary(max_size=200))
@example(text=b"one\ntwo\noops\n", index=RECORD.pack(0, 0, 0, 0, 2, 0) + RECORD.pack(1, 8, 0, 0, 1, 0))  # a line twice
@example(text=b"one\ntwo\noops\n", index=RECORD.pack(0, 2**63, 0, 0, 2, 0))  # no file has this offset
@example(text=b"one\ntwo\noops\n", index=RECORD.pack(0, 0, 0, 0, 2, 9))  # there is no such stream
@settings(max_examples=60)
def test_files_of_any_content_are_read_without_an_error(shared: ApiServer, text: bytes, index: bytes) -> None:
    log = Log(shared.db, shared.config.logs_dir, shared.add_execution())
    log.append(b"one\ntwo\n")
    log.append(b"oops\n", "stderr")
    for path, content in zip(log.paths, (text, index), strict=True):
        path.write_bytes(content)
    total = logs.get_length(shared.db, log.execution).lines
    assert sum(line.count for line in log.read()) == total
    log.append(b"next\n")
    assert sum(line.count for line in log.read()) == total + 1


def test_a_log_that_was_never_written_is_empty(log: Log) -> None:
    assert log.read() == []
    logs.sync(log.logs_dir, log.execution, logs.get_length(log.db, log.execution))


def test_long_lines_are_cut_between_characters_and_their_pieces_have_times_of_their_own(log: Log) -> None:
    long = ("ä€𝄞" * 40_000).encode()
    log.append(b"a\n" + long + b"\nb\n", first_us=0, last_us=0)
    log.append(b"c\n")
    pieces = list(logs.split_long_lines(iter(log.read())))
    assert b"".join(piece.message for piece in pieces if piece.number == 1) == long
    assert all(len(piece.message) <= MESSAGE_BYTES for piece in pieces)
    assert all("\ufffd" not in piece.text for piece in pieces)
    assert all(earlier.time_us < later.time_us for earlier, later in pairwise(pieces))


@pytest.mark.parametrize("filler", [b"x", b"\x80", b"\xff", b"\xc3"])
@pytest.mark.parametrize("size", [MESSAGE_BYTES, MESSAGE_BYTES + 1, 3 * MESSAGE_BYTES + 5])
def test_cutting_loses_no_byte_of_what_is_no_text(filler: bytes, size: int) -> None:
    line = LogLine(0, 0, "stdout", filler * size)
    pieces = list(logs.split_long_lines(iter([line])))
    assert b"".join(piece.message for piece in pieces) == line.message
    assert all(0 < len(piece.message) <= MESSAGE_BYTES for piece in pieces)


LINES = st.lists(st.binary(max_size=12).map(lambda line: line.replace(b"\n", b"")), max_size=6)
BATCHES = st.lists(
    st.tuples(LINES, st.sampled_from(STREAMS), st.integers(0, 10**7), st.integers(0, 10**7), st.booleans()), max_size=15
)


@pytest.fixture(scope="module")
def shared() -> Iterator[ApiServer]:
    with tempfile.TemporaryDirectory() as folder:
        server = ApiServer(Path(folder) / "data")
        yield server
        server.close()


@given(batches=BATCHES, first=st.integers(0, 90), count=st.integers(0, 90))
@settings(max_examples=60)
def test_a_log_equals_a_plain_list_of_lines(
    shared: ApiServer, batches: list[tuple[list[bytes], str, int, int, bool]], first: int, count: int
) -> None:
    execution = shared.add_execution()
    log = Log(shared.db, shared.config.logs_dir, execution)
    before = log.read()
    expected = [(line.stream, line.message) for line in before]
    for lines, stream, first_us, last_us, killed in batches:
        log.append(b"".join(line + b"\n" for line in lines), stream, first_us, last_us)
        expected += [(stream, line) for line in lines]
        if killed:
            for path in log.paths:
                with path.open("ab") as file:
                    file.write(b"\0garbage\n")
    found = log.read()
    assert [(line.stream, line.message) for line in found] == expected
    assert [line.number for line in found] == list(range(len(expected)))
    assert all(earlier.time_us < later.time_us for earlier, later in pairwise(found))
    assert log.read(first, count) == found[first : first + count]
    at = logs.get_length(shared.db, execution)
    for stream in STREAMS:
        assert at.acknowledged[stream] == sum(
            len(line) + 1 for lines, name, *_ in batches if name == stream for line in lines
        )


def numbered(*range_: int) -> bytes:
    return b"".join(b"%09d\n" % number for number in range(*range_))


def on_disk(log: Log) -> int:
    return sum(path.stat().st_size for path in log.paths[0].parent.glob(f"{log.execution.uuid}*.log"))


@pytest.mark.parametrize("batch", [1, 7, 100, 2500, 10_000])
def test_a_stream_past_its_limit_keeps_its_beginning_and_its_end(log: Log, batch: int) -> None:
    log.limit = 20_000
    for first in range(0, 10_000, batch):
        log.append(numbered(first, min(first + batch, 10_000)))
    found = log.read()
    gap = next(line for line in found if line.stream == "status")
    before, after = found[: gap.number], found[found.index(gap) + 1 :]
    assert [int(line.message) for line in before] == list(range(len(before)))
    assert [int(line.message) for line in after] == list(range(10_000 - len(after), 10_000))
    assert gap.text.startswith(f"{gap.count:,} lines of stdout left out: ")
    assert len(before) + gap.count + len(after) == 10_000
    assert 1000 - batch <= len(before) <= 1000
    assert 750 <= len(after) <= 1000
    assert on_disk(log) <= 20_000
    assert all(earlier.time_us < later.time_us for earlier, later in pairwise(before + after))
    assert log.read(9_990, 10) == found[-10:]
    assert [(line.number, line.count) for line in log.read(gap.number + 5, 2)] == [(gap.number + 5, 2)]


def test_other_streams_lose_nothing_to_one_that_is_too_long(log: Log) -> None:
    log.limit = 2000
    for number in range(0, 2000, 10):
        log.append(numbered(number, number + 10))
        if number % 500 == 0:
            log.append(b"warning %d\n" % number, "stderr")
            log.append(b"Command %d\n" % number, "status")
    assert [line.text for line in log.read() if line.stream == "stderr"] == [
        f"warning {n}" for n in (0, 500, 1000, 1500)
    ]
    said = [line.text for line in log.read(stream="status")]
    assert [text for text in said if text.startswith("Command")] == [f"Command {n}" for n in (0, 500, 1000, 1500)]
    assert sum(line.count for line in log.read()) == logs.get_length(log.db, log.execution).lines


def test_a_writer_that_is_killed_in_the_middle_of_a_tail_costs_and_doubles_nothing(log: Log) -> None:
    log.limit = 2000
    for number in range(0, 1000, 10):
        log.append(numbered(number, number + 10))
        before = log.read()
        with pytest.raises(ZeroDivisionError), transaction(log.db):
            at = logs.get_length(log.db, log.execution, log.limit)
            start = at.acknowledged["stdout"]
            batch = LogBatch(attempt=1, stream="stdout", start=start, end=start + 50, first_us=0, last_us=0)
            logs.append(log.db, log.logs_dir, log.execution, at, batch, logs.WholeLines(b"gone-gone\n" * 5, 5))
            _ = 1 / 0
        assert [line.message for line in log.read()][-10:] == [line.message for line in before][-10:]
    stored = [line.message for line in log.read() if line.stream == "stdout"]
    assert b"gone-gone" not in stored
    assert len(stored) == len(set(stored))
