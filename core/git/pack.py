"""Write new objects as one pack, without git: each is hashed and compressed once, as it arrives.

`git fast-import` hashes them four times, with a slow SHA-1 that detects collision attacks. That is not needed here: git
refuses such objects when a runner fetches them. The format is that of git's documentation, gitformat-pack.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, NamedTuple

COMMIT, TREE, BLOB = 1, 2, 3
NAMES = {COMMIT: b"commit", TREE: b"tree", BLOB: b"blob"}
PARTIAL = "tmp_adhoc_"
CHUNK = 1024 * 1024
BLOCK = 0xFFFF  # most bytes in one uncompressed block of a zlib stream
LARGE_OFFSET = 1 << 31  # offsets from here on are in a table of their own


class PackedObject(NamedTuple):
    """Where an object is in the temporary file, and the checksum of these bytes."""

    start: int
    size: int
    crc: int


class ObjectSpool:
    """Collects compressed objects in an unnamed temporary file, which disappears even if this process is killed.

    `level` is zlib's, 0 to 9.
    """

    def __init__(self, directory: Path, *, level: int) -> None:
        self._file = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115  closed by `close`
        self._level, self._end = level, 0
        self._objects: dict[bytes, PackedObject] = {}

    def close(self) -> None:
        self._file.close()

    def add(self, kind: int, size: int, chunks: Iterable[bytes]) -> bytes:
        """Add an object of `size` bytes; return its name."""
        digest = hashlib.sha1(b"%s %d\0" % (NAMES[kind], size), usedforsecurity=False)
        start, crc = self._end, 0
        for part in self._packed(kind, size, chunks, digest.update):
            self._file.write(part)
            self._end += len(part)
            crc = zlib.crc32(part, crc)
        name = digest.digest()
        self._objects[name] = PackedObject(start, self._end - start, crc)
        return name

    def _packed(
        self, kind: int, size: int, chunks: Iterable[bytes], seen: Callable[[bytes], None]
    ) -> Iterator[bytes | memoryview]:
        yield _header(kind, size)
        if not self._level:
            yield from _stored(chunks, seen)
            return
        compress = zlib.compressobj(self._level)
        for chunk in chunks:
            seen(chunk)
            yield compress.compress(chunk)
        yield compress.flush()

    def write_pack(self, directory: Path, known: Callable[[bytes], bool]) -> None:
        """Write the objects that are not `known` to a new pack in `objects/pack`; not called by two at once."""
        new = {name: found for name, found in sorted(self._objects.items()) if not known(name)}
        for left in directory.glob(f"{PARTIAL}*"):  # by a killed process
            left.unlink(missing_ok=True)
        if not new:
            return
        with _partial(directory) as pack, _partial(directory) as index:
            offsets, checksum = self._copy(new, pack)
            index.write(_index(new, offsets, checksum))
            for file, suffix in ((pack, "pack"), (index, "idx")):  # git looks for indexes: the pack comes first
                file.flush()
                os.fsync(file.fileno())
                os.fchmod(file.fileno(), 0o444)
                Path(file.name).rename(directory / f"pack-{checksum.hex()}.{suffix}")

    def _copy(self, objects: Mapping[bytes, PackedObject], pack: IO[bytes]) -> tuple[list[int], bytes]:
        """Write a pack; return the place of each object in it, and its checksum."""
        header = struct.pack(">4sII", b"PACK", 2, len(objects))
        digest, offsets = hashlib.sha1(header, usedforsecurity=False), []
        pack.write(header)
        for found in objects.values():
            offsets.append(pack.tell())
            self._file.seek(found.start)
            left = found.size
            while left:
                part = self._file.read(min(left, CHUNK))
                digest.update(part)
                pack.write(part)
                left -= len(part)
        pack.write(digest.digest())
        return offsets, digest.digest()


def _stored(chunks: Iterable[bytes], seen: Callable[[bytes], None]) -> Iterator[bytes | memoryview]:
    """Yield a zlib stream of blocks that are not compressed, RFC 1950 and 1951; zlib takes three times as long."""
    yield b"\x78\x01"
    checksum = 1
    for chunk in chunks:
        seen(chunk)
        checksum = zlib.adler32(chunk, checksum)
        for start in range(0, len(chunk), BLOCK):
            part = memoryview(chunk)[start : start + BLOCK]
            yield struct.pack("<BHH", 0, len(part), len(part) ^ 0xFFFF)
            yield part
    yield struct.pack("<BHH", 1, 0, 0xFFFF) + struct.pack(">I", checksum)


@contextlib.contextmanager
def _partial(directory: Path) -> Iterator[IO[bytes]]:
    with tempfile.NamedTemporaryFile(dir=directory, prefix=PARTIAL, delete=False) as file:
        try:
            yield file
        finally:
            Path(file.name).unlink(missing_ok=True)


def _header(kind: int, size: int) -> bytes:
    """Return type and size of an object: four bits of the size, then seven in each byte, lowest first."""
    result, byte, size = bytearray(), kind << 4 | size & 15, size >> 4
    while size:
        result.append(byte | 128)
        byte, size = size & 127, size >> 7
    return bytes(result) + bytes([byte])


def _index(objects: Mapping[bytes, PackedObject], offsets: list[int], checksum: bytes) -> bytes:
    """Return the index, version 2, of a pack whose objects are sorted by name."""
    counts = [0] * 256
    for name in objects:
        counts[name[0]] += 1
    fanout = [sum(counts[: first + 1]) for first in range(256)]
    large = [offset for offset in offsets if offset >= LARGE_OFFSET]
    places = {offset: LARGE_OFFSET | number for number, offset in enumerate(large)}
    body = b"".join(
        (
            b"\xfftOc" + struct.pack(">257I", 2, *fanout),
            *objects,
            struct.pack(f">{len(objects)}I", *(found.crc for found in objects.values())),
            struct.pack(f">{len(offsets)}I", *(places.get(offset, offset) for offset in offsets)),
            struct.pack(f">{len(large)}Q", *large),
            checksum,
        )
    )
    return body + hashlib.sha1(body, usedforsecurity=False).digest()
