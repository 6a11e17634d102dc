"""Export the files of a commit to disk.

The commit is hostile: its names, its links, its sizes, and how often it names one blob.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pygit2.enums import FileMode, ObjectType

from core.errors import GitError
from core.git import command, lfs
from core.git.modules import Needed
from core.git.repository import check_sha, opened
from core.names import NAMES_OF_GIT

MAX_ENTRIES = 500_000  # a few kilobytes of trees that name each other can stand for billions of files
MAX_BYTES = 50 * 1024**3
MAX_DEPTH = 200
IN_MEMORY = 64 * 1024**2  # larger blobs are streamed by git
STREAM_LIMIT_S = 600.0
NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass
class _Room:
    """Remaining entries and bytes that may be written."""

    entries: int
    bytes: int

    def take(self, size: int, name: str) -> None:
        self.entries -= 1
        self.bytes -= size
        if self.entries < 0 or self.bytes < 0:
            raise GitError(f"the commit is too large: at {name} it exceeds the limit of files or bytes")


def export(
    path: Path, sha: str, destination: Path, *, max_entries: int = MAX_ENTRIES, max_bytes: int = MAX_BYTES
) -> Needed:
    """Write the files of a commit into the empty directory `destination`, readable and writable for all.

    Executable bits are kept; symbolic links stay links, wherever they point: do not follow them on the host. Submodules
    become empty directories and Git LFS files stay pointers: both are returned. Raises GitError if git refuses a name
    (`.git`, `..`, duplicates) or the commit exceeds the limits; files written until then stay.
    """
    with opened(path) as repository:
        tree = repository[check_sha(sha)].peel(ObjectType.TREE)
        top = os.open(destination, os.O_RDONLY | os.O_DIRECTORY)
        try:
            export = _Export(path, repository, _Room(max_entries, max_bytes))
            export.directory(tree, top, b"", 0)
        finally:
            os.close(top)
    return export.needed


class _Export:
    """Writes through directory descriptors and only into directories that it created: no link can lead it outside."""

    def __init__(self, path: Path, repository: Any, room: _Room) -> None:
        self._path, self._repository, self._room = path, repository, room
        self.needed = Needed()

    def directory(self, tree: Any, descriptor: int, prefix: bytes, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise GitError(f"{_shown(prefix[:200])} is nested deeper than {MAX_DEPTH} directories")
        os.fchmod(descriptor, 0o777)
        for entry in tree:
            name = _checked_name(entry.raw_name, prefix)
            try:
                self._entry(entry, name, descriptor, prefix + name, depth)
            except FileExistsError:
                raise GitError(f"the commit contains {_shown(prefix + name)!r} twice") from None

    def _entry(self, entry: Any, name: bytes, parent: int, place: bytes, depth: int) -> None:
        shown = _shown(place)
        if entry.filemode in (FileMode.TREE, FileMode.COMMIT):
            self._room.take(0, shown)
            os.mkdir(name, 0o777, dir_fd=parent)
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(name, flags, dir_fd=parent)
            try:
                submodule = entry.filemode == FileMode.COMMIT
                if submodule:
                    self.needed.submodules.append((os.fsdecode(place), str(entry.id)))
                self.directory(() if submodule else entry, descriptor, place + b"/", depth + 1)
            finally:
                os.close(descriptor)
        elif entry.filemode == FileMode.LINK:
            self._link(entry, name, parent, shown)
        else:
            self._file(entry, name, parent, place)

    def _link(self, entry: Any, name: bytes, parent: int, shown: str) -> None:
        self._room.take(0, shown)
        if self._repository.odb.read_header(entry.id)[1] > 4095:
            raise GitError(f"the target of the symbolic link {shown!r} is too long")
        os.symlink(bytes(entry.data), name, dir_fd=parent)

    def _file(self, entry: Any, name: bytes, parent: int, place: bytes) -> None:
        size = self._repository.odb.read_header(entry.id)[1]
        self._room.take(size, _shown(place))
        descriptor = os.open(name, NEW_FILE, 0o666, dir_fd=parent)
        try:
            os.fchmod(descriptor, 0o777 if entry.filemode & stat.S_IXUSR else 0o666)  # independent of the umask
            if size > IN_MEMORY:
                arguments, streams = ["cat-file", "blob", str(entry.id)], command.Streams(stdout=descriptor)
                command.run(arguments, repository=self._path, time_limit_s=STREAM_LIMIT_S, streams=streams)
            else:
                _write_all(descriptor, memoryview(entry))
                self._note_pointer(entry, size, place)
        finally:
            os.close(descriptor)

    def _note_pointer(self, entry: Any, size: int, place: bytes) -> None:
        pointer = lfs.parse_pointer(os.fsdecode(place), bytes(entry.data)) if size <= lfs.POINTER_BYTES else None
        if pointer is not None:
            self.needed.pointers.append(pointer)


def _shown(place: bytes) -> str:
    return place.decode("utf-8", "replace")


def _write_all(descriptor: int, data: memoryview) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _checked_name(name: bytes, prefix: bytes) -> bytes:
    if name in (b"", b".", b"..") or b"/" in name or b"\0" in name or name.lower() in NAMES_OF_GIT:
        raise GitError(f"the commit contains {_shown(prefix)}{_shown(name)!r}, a name that git rejects")
    return name
