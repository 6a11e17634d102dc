"""Packing and unpacking values of a metadata key changes nothing."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from web.store.metadata_chunks import EXTREMES, FULL, Point, merge, pack, pack_extremes, reduce, to_columns

NUMBERS = st.integers(-(2**60), 2**60) | st.floats(allow_nan=False)
VALUES = st.one_of(NUMBERS, st.none(), st.booleans(), st.text(max_size=5), st.lists(st.integers(0, 9), max_size=3))


@st.composite
def points(draw: st.DrawFn, kind: st.SearchStrategy[Any]) -> list[Point]:
    """Values on ascending lines, at times that need not ascend."""
    found = draw(
        st.lists(st.tuples(st.sampled_from([1, 1, 1, 2, 300, 2**33]), st.integers(0, 2**51), kind), max_size=30)
    )
    seqs = accumulate(gap for gap, _, _ in found)
    return [Point(seq, time_us, value) for seq, (_, time_us, value) in zip(seqs, found, strict=True)]


def series(kind: st.SearchStrategy[Any] = VALUES) -> st.SearchStrategy[list[Point]]:
    return points(st.floats(allow_nan=False)) | points(st.integers(-9, 2**53)) | points(kind)


@given(series())
def test_values_are_unpacked_as_they_were_packed(stored: list[Point]) -> None:
    for chunk in pack(to_columns(stored)):
        assert repr(list(chunk.points())) == repr(stored)
        for first in (stored[0].seq, stored[-1].seq, stored[len(stored) // 2].seq + 1):
            assert repr(list(chunk.points(first, first + 2))) == repr([p for p in stored if first <= p.seq < first + 2])
            before = [p.value for p in stored if p.seq <= first][-1:]
            assert repr(list(chunk.values_at([first], earlier=True))) == repr([(first, value) for value in before])


@given(st.lists(series(), max_size=4))
def test_merged_chunks_have_the_values_of_all(parts: list[list[Point]]) -> None:
    every: list[Point] = []
    chunks = []
    for part in parts:
        behind = every[-1].seq if every else 0
        following = [point._replace(seq=point.seq + behind) for point in part]
        every += following
        chunks += pack(to_columns(following))
    if chunks:
        assert repr(list(merge(chunks).points())) == repr(every)


@given(series(NUMBERS | st.text(max_size=2)), st.integers(1, 9), st.integers(1, 9))
def test_the_smallest_and_the_largest_of_each_stretch_are_kept(stored: list[Point], length: int, groups: int) -> None:
    numbers = [p for p in stored if type(p.value) is float or (type(p.value) is int and abs(p.value) <= 2**53)]
    for chunk in pack(to_columns(stored)):
        stretches = list(chunk.extremes(length))
        for start, stretch in zip(range(0, len(numbers), length), stretches, strict=True):
            part = [p.value for p in numbers[start : start + length]]
            assert (stretch[2], stretch[6]) == (min(part), max(part))
        reduced = reduce(stretches, groups)
        assert len(reduced) <= 2 * groups
        assert [p.seq for p in reduced] == sorted({p.seq for p in reduced})
        assert set(map(repr, reduced)) <= set(map(repr, numbers))
        if numbers:
            values = [p.value for p in numbers]
            assert {min(values), max(values)} <= {p.value for p in reduced}
        assert list(EXTREMES.iter_unpack(pack_extremes(chunk))) == list(chunk.extremes())


def test_chunks_have_a_bounded_size() -> None:
    texts = [Point(i, i, "x" * (i % 5000)) for i in range(5000)]
    numbers = [Point(i, i, i / 2) for i in range(10_000)]
    for stored in (texts, numbers):
        chunks = pack(to_columns(stored))
        assert [point for chunk in chunks for point in chunk.points()] == stored
        assert all(chunk.weight <= FULL for chunk in chunks)
    assert (
        sum(len(part) for chunk in pack(to_columns(numbers)) for part in chunk if isinstance(part, bytes))
        < 12.1 * 10_000
    )
