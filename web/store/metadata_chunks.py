"""Chunks of metadata: thousands of values of one key, packed, with the smallest and the largest of each stretch.

A value takes 12 bytes: a float64, and its time after the earliest of the chunk, mostly in four bytes. Line numbers are
stored only if they are not consecutive. Integers that a float64 does not hold exactly, and everything but numbers, are
JSON. Arrays have the byte order of the machine.
"""

from __future__ import annotations

import math
import struct
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple, TypeAlias

import orjson

FULL = 4096  # maximum weight of a chunk with more than one value
TEXT_WEIGHT = 8  # bytes of JSON that weigh as much as one number
STRETCH = 256  # numbers in a stretch, of which a chunk stores the smallest and the largest
EXACT = 2**53  # a float64 holds all integers up to it
FLOAT, INTEGER, JSON = b"fij"
OFFSETS = {array(code).itemsize: code for code in "BHIQ"}
EXTREMES = struct.Struct("<qqd?qqd?")  # an Extremes


class Point(NamedTuple):
    """A value of a key. `value` is a number or any other JSON value."""

    seq: int
    time_us: int
    value: Any


# line, time and value of the smallest number of a stretch, and whether it is an integer; the same of the largest
Extremes: TypeAlias = tuple[int, int, float, bool, int, int, float, bool]


class Values(NamedTuple):
    """Values of a key in the order of their lines, as parallel lists like the fields of Point."""

    seqs: Sequence[int]
    times: Sequence[int]
    values: Sequence[Any]


class MetadataChunk(NamedTuple):
    """Values on lines `seq` to `last`.

    `kinds` has a byte for each value, or one for all. `numbers` has one for each value, or none if all are JSON.
    """

    seq: int
    last: int
    size: int  # number of values
    seqs: bytes
    numbers: bytes
    kinds: bytes
    texts: bytes
    time_us: int
    times: bytes

    @property
    def weight(self) -> int:
        return self.size + len(self.texts) // TEXT_WEIGHT

    def points(self, first: int = 0, end: int | None = None) -> Iterator[Point]:
        """Yield the values on lines from `first` up to `end`."""
        seqs = self.line_offsets()
        start = bisect_left(seqs, first - self.seq)
        stop = self.size if end is None else bisect_left(seqs, end - self.seq)
        times = [self.time_us + offset for offset in _offsets(self.times, self.size)[start:stop]]
        lines = [self.seq + offset for offset in seqs[start:stop]]
        return map(Point, lines, times, self._values(start, stop))

    def values_at(self, lines: Iterable[int], *, earlier: bool) -> Iterator[tuple[int, Any]]:
        """Yield (line, value) for those of `lines` that have one; if `earlier`, else the one before."""
        seqs, values = self.line_offsets(), self._values(0, self.size) if self.texts else []
        for line in lines:
            index = bisect_right(seqs, line - self.seq) - 1
            if index >= 0 and (earlier or seqs[index] == line - self.seq):
                yield line, values[index] if values else self._values(index, index + 1)[0]

    def extremes(self, stretch: int = STRETCH) -> Iterator[Extremes]:
        """Yield the smallest and the largest number of each stretch of `stretch` numbers."""
        if self.kinds == b"j":
            return
        where: Sequence[int] = range(self.size)
        values = self._values(0, self.size)
        if JSON in self.kinds:
            where = [index for index in where if self.kinds[index] != JSON]
            values = [values[index] for index in where]
        seqs, times = self.line_offsets(), _offsets(self.times, self.size)
        for start in range(0, len(values), stretch):
            part = values[start : start + stretch]
            low, high = min(part), max(part)
            at, to = where[start + part.index(low)], where[start + part.index(high)]
            yield (
                *(self.seq + seqs[at], self.time_us + times[at], low, type(low) is int),
                *(self.seq + seqs[to], self.time_us + times[to], high, type(high) is int),
            )

    def line_offsets(self) -> Sequence[int]:
        """Return the offsets of its lines from `seq`."""
        return _offsets(self.seqs, self.size) if self.seqs else range(self.size)

    def _values(self, start: int, stop: int) -> list[Any]:
        texts = orjson.loads(self.texts or b"[]")
        if self.kinds == b"j":
            return list(texts[start:stop])
        numbers = memoryview(self.numbers).cast("d")[start:stop].tolist()
        if len(self.kinds) == 1:
            return numbers if self.kinds == b"f" else list(map(int, numbers))
        others = iter(texts[self.kinds[:start].count(JSON) :])
        return [
            next(others) if kind == JSON else int(number) if kind == INTEGER else number
            for kind, number in zip(self.kinds[start:stop], numbers, strict=True)
        ]


def compute_extent(values: Sequence[Any]) -> tuple[float, float] | None:
    """Return the lowest and the highest number among the values, None if there is none."""
    kinds = _kinds(values)
    if kinds == b"j":
        return None
    if JSON in kinds:
        values = [value for kind, value in zip(kinds, values, strict=True) if kind != JSON]
    return min(values), max(values)


def to_columns(points: Sequence[Point]) -> Values:
    return Values(*zip(*points, strict=True)) if points else Values((), (), ())


def pack(values: Values) -> list[MetadataChunk]:
    """Pack values into chunks of at most FULL."""
    weight = size = len(values.seqs)
    if 0 < size <= FULL:
        chunk = _chunk(values.seqs, values.times, _split(values.values))
        if chunk.weight <= FULL or size == 1:
            return [chunk]
        weight = chunk.weight
    parts = weight // FULL + 1
    part = max(1, -(-size // parts))
    starts = range(0, size, part)
    return [chunk for start in starts for chunk in pack(Values(*(column[start : start + part] for column in values)))]


def merge(chunks: Sequence[MetadataChunk]) -> MetadataChunk:
    """Join chunks that follow each other."""
    seqs = [chunk.seq + offset for chunk in chunks for offset in chunk.line_offsets()]
    times = [chunk.time_us + offset for chunk in chunks for offset in _offsets(chunk.times, chunk.size)]
    texts = b",".join(chunk.texts[1:-1] for chunk in chunks if chunk.texts)
    if {chunk.kinds for chunk in chunks} in ({b"f"}, {b"i"}, {b"j"}):
        kinds, numbers = chunks[0].kinds, b"".join(chunk.numbers for chunk in chunks)
    else:
        kinds = b"".join(chunk.kinds * (chunk.size if len(chunk.kinds) == 1 else 1) for chunk in chunks)
        numbers = b"".join(chunk.numbers or bytes(8 * chunk.size) for chunk in chunks)
    return _chunk(seqs, times, (kinds, numbers, b"[%b]" % texts if texts else b""))


def pack_extremes(chunk: MetadataChunk) -> bytes:
    return b"".join(EXTREMES.pack(*extremes) for extremes in chunk.extremes())


def reduce(stretches: Sequence[Extremes], groups: int) -> list[Point]:
    """Return the smallest and the largest number of each of at most `groups` groups of stretches, in order."""
    first = stretches[0][0] if stretches else 0
    width = (stretches[-1][0] - first) // groups + 1 if stretches else 1
    chosen: dict[int, Point] = {}
    for _, group in groupby(stretches, lambda stretch: (stretch[0] - first) // width):
        found = list(group)
        for seq, time_us, value, is_int in (min(found, key=itemgetter(2))[:4], max(found, key=itemgetter(6))[4:]):
            chosen[seq] = Point(seq, time_us, int(value) if is_int else value)
    return [chosen[seq] for seq in sorted(chosen)]


def thin(points: Sequence[Point], width: int, ends: Collection[int]) -> list[Point]:
    """Return the smallest and the largest value of each cell of `width` lines, and the values on lines `ends`."""
    value = itemgetter(2) if all(type(point.value) in (float, int) for point in points) else _rank
    kept = {point.seq: point for point in points if point.seq in ends}
    for _, group in groupby(points, lambda point: point.seq // width):
        cell = list(group)
        for point in (min(cell, key=value), max(cell, key=value)):
            kept[point.seq] = point
    return [kept[seq] for seq in sorted(kept)]


def _chunk(seqs: Sequence[int], times: Sequence[int], packed: tuple[bytes, bytes, bytes]) -> MetadataChunk:
    first, last, size = seqs[0], seqs[-1], len(seqs)
    time_us, packed_times = _pack_times(tuple(times))
    kinds, numbers, texts = packed
    return MetadataChunk(
        seq=first,
        last=last,
        size=size,
        seqs=b"" if last - first == size - 1 else _pack_offsets([seq - first for seq in seqs]),
        numbers=numbers,
        kinds=kinds,
        texts=texts,
        time_us=time_us,
        times=packed_times,
    )


def _split(values: Sequence[Any]) -> tuple[bytes, bytes, bytes]:
    """Return the kinds of values, their numbers and their JSON."""
    kinds = _kinds(values)
    if kinds == b"j":
        return kinds, b"", orjson.dumps(values)
    if JSON not in kinds:
        return kinds, array("d", values).tobytes(), b""
    texts = [value for kind, value in zip(kinds, values, strict=True) if kind == JSON]
    numbers = (0.0 if kind == JSON else value for kind, value in zip(kinds, values, strict=True))
    return kinds, array("d", numbers).tobytes(), orjson.dumps(texts)


def _kinds(values: Sequence[Any]) -> bytes:
    """Return the kind of all values, or that of each."""
    types = set(map(type, values))
    if types == {float} and not math.isnan(sum(values)):
        return b"f"
    if types == {int} and min(values) >= -EXACT and max(values) <= EXACT:
        return b"i"
    kinds = b"" if types.isdisjoint({float, int}) else bytes(map(_kind, values))
    return kinds if kinds.count(JSON) < len(kinds) else b"j"


def _kind(value: Any) -> int:
    if type(value) is float and not math.isnan(value):
        return FLOAT
    return INTEGER if type(value) is int and -EXACT <= value <= EXACT else JSON


def _rank(point: Point) -> tuple[bool, Any]:
    """Order numbers before everything else, which is ordered as JSON."""
    is_json = _kind(point.value) == JSON
    return is_json, orjson.dumps(point.value) if is_json else point.value


@lru_cache(maxsize=4)  # all keys of the same lines have the same times
def _pack_times(times: tuple[int, ...]) -> tuple[int, bytes]:
    first = min(times)
    return first, _pack_offsets([time - first for time in times])


def _pack_offsets(offsets: Sequence[int]) -> bytes:
    top = max(offsets)
    return array(next(code for size, code in OFFSETS.items() if top < 1 << 8 * size), offsets).tobytes()


def _offsets(packed: bytes, size: int) -> memoryview:
    return memoryview(packed).cast(OFFSETS[len(packed) // size])  # type: ignore[call-overload, no-any-return]
