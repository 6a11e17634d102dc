"""Read a package, a gzip-compressed tar archive with the files of a project, without extracting it to disk.

The archive is hostile. Allowed are regular files and symbolic links that stay inside; directories are ignored, since
git does not store them. Everything else is refused, with the name of the member. Memory is bounded: headers are small,
and contents are streamed. `tarfile` only decodes single headers: it reads extended headers of any size and takes a
damaged header for the end of the archive.
"""

from __future__ import annotations

import re
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from core.errors import InputTooLarge, InvalidInput
from core.names import NAMES_OF_GIT
from core.text import make_printable
from core.units import format_size

GZIP = 16 + zlib.MAX_WBITS
READ, CHUNK, BLOCK = 64 * 1024, 256 * 1024, tarfile.BLOCKSIZE
HEADER_BYTES = 64 * 1024  # most bytes of one extended header, which contains a long name
HEADERS = 8  # extended headers before one member
MEMBER_BYTES = 4 * 1024  # most bytes of headers and padding for each member, on average
EXPANSION, FREE = 200, 64 * 1024**2  # source code compresses to a tenth; only beyond FREE bytes is the ratio checked
PATH_BYTES, NAME_BYTES, DEPTH = 4095, 255, 200
FILE, EXECUTABLE, LINK = b"100644", b"100755", b"120000"  # modes of git
RECORD = re.compile(rb"([1-9][0-9]{0,5}) ([^=\n]+)=")
KINDS = {
    tarfile.LNKTYPE: "a hard link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a named pipe",
    tarfile.GNUTYPE_SPARSE: "a sparse file",
}


@dataclass(frozen=True, kw_only=True)
class PackageLimits:
    """Limits of one package: `files` is the number of members, `bytes` the size of its files together."""

    files: int
    bytes: int


@dataclass(frozen=True, kw_only=True)
class PackageEntry:
    """A file or a link; `mode` is as in git, and `content` (of a link: its target) is read before the next entry."""

    path: bytes
    mode: bytes
    size: int
    content: Iterator[bytes]

    @property
    def is_file(self) -> bool:
        return self.mode != LINK


def iterate_entries(file: BinaryIO, packed: int, limits: PackageLimits) -> Iterator[PackageEntry]:
    """Yield the files and links of a package of `packed` bytes. Raises InvalidInput, also after the last entry."""
    stream, names, left = _Unpacked(file, packed, limits), _Names(), limits.bytes
    for number, member in enumerate(_members(stream), 1):
        if number > limits.files:
            raise InputTooLarge(f"it has more than {limits.files:,} files and directories ([limits] package_files)")
        entry = _entry(member, names, stream)
        if entry is None:
            continue
        left -= entry.size
        if left < 0:
            raise _too_large(limits)
        yield entry
        for _ in entry.content:
            continue
        if entry.is_file:
            stream.skip(-entry.size % BLOCK)
    stream.finish()


@dataclass(frozen=True, kw_only=True)
class _Member:
    """One header, with the values of the extended headers before it."""

    path: bytes
    target: bytes
    kind: bytes
    mode: int
    size: int


class _Unpacked:
    """The decompressed archive."""

    def __init__(self, file: BinaryIO, packed: int, limits: PackageLimits) -> None:
        self._file, self._gzip, self._limits = file, zlib.decompressobj(GZIP), limits
        self._whole, self._most = limits.bytes + limits.files * MEMBER_BYTES + HEADER_BYTES, FREE + EXPANSION * packed
        self._buffer, self._position, self._total = b"", 0, 0

    def chunks(self, size: int) -> Iterator[bytes]:
        """Yield the next `size` bytes."""
        while size:
            if self._position == len(self._buffer) and not self._fill():
                raise InvalidInput("it is incomplete: the tar archive breaks off")
            part = self._buffer[self._position : self._position + size]
            self._position += len(part)
            size -= len(part)
            yield part

    def read(self, size: int) -> bytes:
        return b"".join(self.chunks(size))

    def skip(self, size: int) -> None:
        for _ in self.chunks(size):
            continue

    def finish(self) -> None:
        """Check that only padding follows, and the checksum of the whole."""
        rest = self._buffer[self._position :]
        while rest or self._fill():
            if (rest or self._buffer).strip(b"\0"):
                raise InvalidInput("data follows the end of its tar archive")
            rest = b""
        if self._gzip.unused_data or self._file.read(1):
            raise InvalidInput("data follows the end of its gzip stream")

    def _fill(self) -> bool:
        """Decompress the next part; return False at the end of the stream."""
        self._buffer, self._position = b"", 0
        while not self._buffer and not self._gzip.eof:
            packed = self._gzip.unconsumed_tail or self._file.read(READ)
            if not packed:
                raise InvalidInput("it is incomplete: the gzip stream breaks off")
            try:
                self._buffer = self._gzip.decompress(packed, CHUNK)
            except zlib.error as error:
                raise InvalidInput(f"it is not a valid gzip file: {error}") from None
        self._total += len(self._buffer)
        if self._total > self._whole:
            raise _too_large(self._limits)
        if self._total > self._most:
            raise InputTooLarge(f"it unpacks to more than {EXPANSION} times its size")
        return bool(self._buffer)


def _members(stream: _Unpacked) -> Iterator[_Member]:
    """Yield members up to the end of the archive. Extended headers are applied, global ones ignored."""
    extended, count = dict[bytes, bytes](), 0
    while (header := _header(stream)) is not None:
        if header.type in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE):
            extended |= _records(_extension(stream, header))
        elif header.type == tarfile.GNUTYPE_LONGNAME:
            extended[b"path"] = _extension(stream, header).rstrip(b"\0")
        elif header.type == tarfile.GNUTYPE_LONGLINK:
            extended[b"linkpath"] = _extension(stream, header).rstrip(b"\0")
        elif header.type == tarfile.XGLTYPE:
            _extension(stream, header)
        else:
            yield _member(header, extended)
            extended, count = {}, 0
            continue
        count += 1
        if count > HEADERS:
            raise InvalidInput(f"it has more than {HEADERS} extended headers before one file")
    if extended:
        raise InvalidInput("its last header belongs to no file")


def _header(stream: _Unpacked) -> tarfile.TarInfo | None:
    """Return the next header; None at the end of the archive."""
    block = stream.read(BLOCK)
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # exists since 3.3
        return None
    except (tarfile.HeaderError, ValueError) as error:
        raise InvalidInput(f"it is not a valid tar archive: {error}") from None


def _extension(stream: _Unpacked, header: tarfile.TarInfo) -> bytes:
    if not 0 <= header.size <= HEADER_BYTES:
        raise InvalidInput(f"it has an extended header of more than {HEADER_BYTES:,} bytes")
    data = stream.read(header.size)
    stream.skip(-header.size % BLOCK)
    return data


def _records(data: bytes) -> dict[bytes, bytes]:
    """Parse a PAX header: records of `LENGTH KEY=VALUE\\n`."""
    found, position = dict[bytes, bytes](), 0
    while position < len(data):
        record = RECORD.match(data, position)
        end = position + int(record.group(1)) if record else 0
        if record is None or end > len(data) or end <= record.end() or data[end - 1 : end] != b"\n":
            raise InvalidInput("it has a damaged extended header")
        found[record.group(2)] = data[record.end() : end - 1]
        position = end
    return found


def _member(header: tarfile.TarInfo, extended: dict[bytes, bytes]) -> _Member:
    path = extended.get(b"path", header.name.encode("utf-8", "surrogateescape"))
    size, kind = header.size, header.type
    if b"size" in extended:
        digits = extended[b"size"]
        size = int(digits) if re.fullmatch(rb"[0-9]{1,18}", digits) else -1
    if any(key.startswith(b"GNU.sparse") for key in extended):
        kind = tarfile.GNUTYPE_SPARSE
    if size < 0 or (size and kind in (tarfile.SYMTYPE, tarfile.DIRTYPE)):
        raise InvalidInput(f"{_shown(path)} has an impossible size")
    target = extended.get(b"linkpath", header.linkname.encode("utf-8", "surrogateescape"))
    return _Member(path=path, target=target, kind=kind, mode=header.mode, size=size)


def _entry(member: _Member, names: _Names, stream: _Unpacked) -> PackageEntry | None:
    """Return the entry of a member, None for a directory. Raises InvalidInput for everything that is not allowed."""
    if member.kind not in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE):
        kind = KINDS.get(member.kind, f"of the unknown kind {member.kind!r}")
        raise InvalidInput(f"{_shown(member.path)} is {kind}; only files and symbolic links are allowed")
    is_directory = member.kind == tarfile.DIRTYPE
    path = _checked_path(member.path, is_directory=is_directory)
    if is_directory:
        names.add_directory(path)
        return None
    names.add_file(path)
    if member.kind == tarfile.SYMTYPE:
        target = _checked_target(path, member.target)
        return PackageEntry(path=path, mode=LINK, size=len(target), content=iter((target,)))
    mode = EXECUTABLE if member.mode & 0o100 else FILE
    return PackageEntry(path=path, mode=mode, size=member.size, content=stream.chunks(member.size))


class _Names:
    """The paths so far, so that none comes twice and none is both a file and a directory."""

    def __init__(self) -> None:
        self._files, self._directories = set[bytes](), {b""}

    def add_file(self, path: bytes) -> None:
        if path in self._files:
            raise InvalidInput(f"it contains {_shown(path)} twice")
        if path in self._directories:
            raise InvalidInput(f"{_shown(path)} is both a file and a directory")
        self._files.add(path)
        self.add_directory(path.rpartition(b"/")[0])

    def add_directory(self, path: bytes) -> None:
        while path not in self._directories:
            if path in self._files:
                raise InvalidInput(f"{_shown(path)} is both a file and a directory")
            self._directories.add(path)
            path = path.rpartition(b"/")[0]


def _checked_path(path: bytes, *, is_directory: bool) -> bytes:
    """Return a path without `./` at its beginning; b"" for the top directory."""
    shown, whole = _shown(path), path
    while path.startswith(b"./"):
        path = path[2:]
    if is_directory:
        path = path.rstrip(b"/") if path != b"." else b""
        if not path and not whole.startswith(b"/"):
            return b""
    if path.startswith(b"/") or whole.startswith(b"/"):
        raise InvalidInput(f"{shown} is an absolute name; names are relative to the project's directory")
    _check_text(path, shown)
    parts = path.split(b"/")
    if b".." in parts:
        raise InvalidInput(f'{shown} leads out of the package: ".." is not allowed')
    if any(part in (b"", b".") for part in parts) or b"\0" in path:
        raise InvalidInput(f"{shown} is not a plain relative name")
    if any(part.lower() in NAMES_OF_GIT for part in parts):
        raise InvalidInput(f"{shown} contains a name that git rejects")
    if len(path) > PATH_BYTES or len(parts) > DEPTH or any(len(part) > NAME_BYTES for part in parts):
        raise InvalidInput(f"{shown} is too long or nested too deep")
    return path


def _checked_target(path: bytes, target: bytes) -> bytes:
    """Return the target of a link. `..` is allowed only at its beginning: after a name it could follow another link."""
    shown = f"the symbolic link {_shown(path)}"
    _check_text(target, shown)
    if not target or b"\0" in target or len(target) > PATH_BYTES:
        raise InvalidInput(f"{shown} has no valid target")
    parts = target.split(b"/")
    ups = next((number for number, part in enumerate(parts) if part != b".."), len(parts))
    if target.startswith(b"/") or ups > path.count(b"/") or b".." in parts[ups:]:
        raise InvalidInput(f"{shown} points out of the package, to {_shown(target)}")
    return target


def _check_text(name: bytes, shown: str) -> None:
    try:
        name.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidInput(f"{shown} is not UTF-8") from None


def _too_large(limits: PackageLimits) -> InputTooLarge:
    return InputTooLarge(f"it unpacks to more than {format_size(limits.bytes)} ([limits] package_unpacked)")


def _shown(name: bytes) -> str:
    return f'"{make_printable(name.decode("utf-8", "replace"))[:200]}"'
