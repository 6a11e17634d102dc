"""Lists the files in an execution's outputs directory; names and file types are treated as hostile."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from core.errors import ExecutionFailed
from core.states import FailureReason
from core.text import make_printable
from core.units import format_size

MAX_DEPTH = 100
SHOWN = 300  # most characters of a name in a message
MAX_REMARKS = 50  # status lines about individual entries
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@dataclass(frozen=True, kw_only=True)
class OutputFile:
    """A regular file below the outputs directory.

    `name` is its relative path with `/`, bytes that are not valid UTF-8 as %XX: for display and storage, never to open.
    `size` is in bytes.
    """

    name: str
    size: int
    top: Path
    parts: tuple[bytes, ...]
    identity: tuple[int, int]  # device and inode

    def open(self) -> BinaryIO:
        """Open the file for reading. Raises ExecutionFailed if it is no longer the file that was found."""
        try:
            file = os.fdopen(_open_below(self.top, self.parts), "rb")
        except OSError as error:
            raise _changed(error.strerror or "it cannot be opened") from None
        found = os.fstat(file.fileno())
        if (
            not stat.S_ISREG(found.st_mode)
            or (found.st_dev, found.st_ino) != self.identity
            or found.st_size != self.size
        ):
            file.close()
            raise _changed("it is not the file that was found")
        return file


class _Limits:
    """Counts accepted files against the limits, and the files that did not fit."""

    def __init__(self, max_count: int, max_bytes: int) -> None:
        self._max_count, self._max_bytes = max_count, max_bytes
        self._count, self._bytes = 0, 0
        self._left_count, self._left_bytes = 0, 0
        self._why = ""

    def take(self, file: OutputFile) -> bool:
        """Whether the file fits. If not, smaller files after it still may."""
        if self._count + 1 > self._max_count:
            why = f"The limit of {self._max_count:,} output files ([limits] output_count) is reached"
        elif self._bytes + file.size > self._max_bytes:
            why = f"The limit of {format_size(self._max_bytes)} of outputs ([limits] output_bytes) is reached"
        else:
            why = ""
        if why:
            self._why = self._why or why
            self._left_count += 1
            self._left_bytes += file.size
            return False
        self._count += 1
        self._bytes += file.size
        return True

    def check(self) -> None:
        """Raise ExecutionFailed if a file did not fit."""
        if not self._why:
            return
        files = "1 file is" if self._left_count == 1 else f"{self._left_count:,} files are"
        message = f"{self._why}; {files} not kept ({format_size(self._left_bytes)})"
        raise ExecutionFailed(FailureReason.OUTPUT, message)


class Remarks:
    """Writes status lines about the first MAX_REMARKS entries, then one with the number of the others."""

    def __init__(self, status: Callable[[str], None]) -> None:
        self._status, self._count = status, 0

    def add(self, name: str, what: str) -> None:
        self._count += 1
        if self._count <= MAX_REMARKS:
            self._status(f"{format_name(name)} {what}; not kept")

    def finish(self) -> None:
        if self._count > MAX_REMARKS:
            self._status(f"{self._count - MAX_REMARKS:,} more entries of outputs are not kept")


def collect(outputs_dir: Path, *, max_count: int, max_bytes: int, remarks: Remarks) -> Iterator[OutputFile]:
    """Yield every regular file below `outputs_dir`, including hidden and empty ones, sorted by the bytes of the names.

    Links are not followed. Links, pipes, sockets and devices get a status line. Files that exceed the limits are
    counted but not yielded; ExecutionFailed is then raised at the end.
    """
    limits = _Limits(max_count, max_bytes)
    try:
        descriptor = os.open(outputs_dir, DIRECTORY)
    except OSError as error:
        raise ExecutionFailed(FailureReason.OUTPUT, f"the outputs directory cannot be read: {error}") from None
    for file in _walk(outputs_dir, descriptor, (), remarks):
        if limits.take(file):
            yield file
    limits.check()


def _walk(top: Path, descriptor: int, parents: tuple[bytes, ...], remarks: Remarks) -> Iterator[OutputFile]:
    """Yield the files below an open directory. Takes ownership of the descriptor and closes it."""
    try:
        for name in sorted(os.fsencode(entry) for entry in os.listdir(descriptor)):
            parts = (*parents, name)
            try:
                found = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
                if stat.S_ISDIR(found.st_mode):
                    yield from _below(top, descriptor, parts, remarks)
                    continue
            except OSError as error:
                remarks.add(_name(parts), f"cannot be read ({error.strerror})")
                continue
            if stat.S_ISREG(found.st_mode):
                identity = (found.st_dev, found.st_ino)
                yield OutputFile(name=_name(parts), size=found.st_size, top=top, parts=parts, identity=identity)
            else:
                remarks.add(_name(parts), f"is {KINDS.get(stat.S_IFMT(found.st_mode), 'not a regular file')}")
    finally:
        os.close(descriptor)


def _below(top: Path, parent: int, parts: tuple[bytes, ...], remarks: Remarks) -> Iterator[OutputFile]:
    if len(parts) > MAX_DEPTH:
        remarks.add(_name(parts), f"is nested deeper than {MAX_DEPTH} directories")
    else:
        yield from _walk(top, os.open(parts[-1], DIRECTORY, dir_fd=parent), parts, remarks)


def _open_below(top: Path, parts: tuple[bytes, ...]) -> int:
    """Open a file component by component, without following links."""
    descriptor = os.open(top, DIRECTORY)
    for part in parts[:-1]:
        try:
            below = os.open(part, DIRECTORY, dir_fd=descriptor)
        finally:
            os.close(descriptor)
        descriptor = below
    try:
        return os.open(parts[-1], FILE, dir_fd=descriptor)
    finally:
        os.close(descriptor)


def _name(parts: tuple[bytes, ...]) -> str:
    decoded = b"/".join(parts).decode("utf-8", "surrogateescape")
    return "".join(f"%{ord(c) - 0xDC00:02X}" if "\udc80" <= c <= "\udcff" else c for c in decoded)


def format_name(name: str) -> str:
    """The name of an output for a message: on one line, at most SHOWN characters."""
    line = make_printable(name)
    return f"outputs/{line if len(line) <= SHOWN else line[:SHOWN] + '…'}"


def _changed(why: str) -> ExecutionFailed:
    return ExecutionFailed(FailureReason.OUTPUT, f"it changed while it was stored: {why}")
