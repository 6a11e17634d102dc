from __future__ import annotations

import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.logs.line_assembler import LineAssembler

BYTES = st.lists(st.sampled_from([b"a", b"b", b"\n", b"\r", b"\xff", b"abc"]), max_size=40).map(b"".join)
CUTS = st.lists(st.integers(min_value=0, max_value=120), max_size=8)


def chunks(data: bytes, cuts: list[int]) -> list[bytes]:
    at = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    return [data[start:end] for start, end in itertools.pairwise(at)]


def assemble(parts: list[bytes], max_line: int, offset: int = 0) -> tuple[bytes, list[tuple[int, int]]]:
    assembler = LineAssembler(offset, max_line)
    found = [lines for part in parts if (lines := assembler.feed(part)) is not None]
    if (rest := assembler.flush()) is not None:
        found.append(rest)
    return b"".join(lines.text for lines in found), [(lines.start, lines.end) for lines in found]


@given(BYTES, CUTS, st.integers(min_value=1, max_value=6))
def test_any_chunking_of_the_same_bytes_gives_the_same_lines(data: bytes, cuts: list[int], max_line: int) -> None:
    assert assemble(chunks(data, cuts), max_line)[0] == assemble([data], max_line)[0]


@given(BYTES, CUTS, st.integers(min_value=1, max_value=6))
def test_offsets_cover_every_byte_exactly_once(data: bytes, cuts: list[int], max_line: int) -> None:
    _, spans = assemble(chunks(data, cuts), max_line, offset=7)
    ends = [end for _, end in spans]
    assert [start for start, _ in spans] == [7, *ends][: len(spans)]
    assert (ends or [7])[-1] == 7 + len(data)


@given(BYTES, CUTS, st.integers(min_value=1, max_value=6))
def test_starting_anew_where_any_batch_ended_loses_and_doubles_nothing(
    data: bytes, cuts: list[int], max_line: int
) -> None:
    whole, _ = assemble([data], max_line)
    assembler, text = LineAssembler(0, max_line), b""
    for part in chunks(data, cuts):
        if (lines := assembler.feed(part)) is not None:
            text += lines.text
            assert text + assemble([data[lines.end :]], max_line, lines.end)[0] == whole


@pytest.mark.parametrize(
    ("printed", "stored"),
    [
        (b"plain\n", b"plain\n"),
        (b"windows\r\n", b"windows\n"),
        (b" 10%\r 50%\r100%\n", b"100%\n"),
        (b" 10%\r100%\r\n", b"100%\n"),
        (b"\n\n", b"\n\n"),
        (b"no end", b"no end\n"),
        (b"\xff\xfe\n", b"\xff\xfe\n"),
        (b"0123456789\n", b"01234567\n89\n"),
        (b"01234567\n", b"01234567\n"),
    ],
)
def test_a_terminal_would_show_what_is_stored(printed: bytes, stored: bytes) -> None:
    assert assemble([printed], max_line=8)[0] == stored


def test_a_progress_bar_of_any_length_is_kept_in_little_memory() -> None:
    assembler = LineAssembler()
    for percent in range(10_000):
        assembler.feed(b"%d percent \r" % percent)
    assert len(assembler.pending) < 100
    assert assembler.preview() == b"9999 percent "
    lines = assembler.flush()
    assert lines is not None
    assert lines.text == b"9999 percent \n"


def test_a_million_lines_cost_no_work_per_line() -> None:
    chunk = (b"x" * 99 + b"\n") * 10_000
    assembler = LineAssembler()
    started = time.process_time()
    count = sum(len(lines.text) for _ in range(100) if (lines := assembler.feed(chunk)) is not None)
    assert count == 100_000_000
    assert time.process_time() - started < 0.3
