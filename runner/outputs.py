"""What an execution left in its outputs directory, read as if its names and kinds had been chosen to trick us."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from core.errors import ExecutionFailed
from core.states import FailureReason
from runner.formats import size_text

MAX_DEPTH = 100
SHOWN = 300  # characters of a name
MAX_REMARKS = 50  # status lines about single entries
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

    `name` is its path there, joined by `/`, with bytes that are no UTF-8 as %XX: data to show and store, never a path.
    `size` is in bytes.
    """

    name: str
    size: int
    top: Path
    parts: tuple[bytes, ...]
    identity: tuple[int, int]  # device and inode

    def open(self) -> BinaryIO:
        """The file that was found, for reading. Raises ExecutionFailed when something else is there now."""
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
    """What is still taken, and what had to be left."""

    def __init__(self, max_count: int, max_bytes: int) -> None:
        self._max_count, self._max_bytes = max_count, max_bytes
        self._count, self._bytes = 0, 0
        self._left_count, self._left_bytes = 0, 0
        self._why = ""

    def take(self, file: OutputFile) -> bool:
        """False for a file that does not fit; smaller ones that follow may."""
        if self._count + 1 > self._max_count:
            why = f"The limit of {self._max_count:,} output files ([limits] output_count) is reached"
        elif self._bytes + file.size > self._max_bytes:
            why = f"The limit of {size_text(self._max_bytes)} of outputs ([limits] output_bytes) is reached"
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
        """Raise ExecutionFailed when something had to be left."""
        if not self._why:
            return
        files = "1 file is" if self._left_count == 1 else f"{self._left_count:,} files are"
        message = f"{self._why}; {files} not kept ({size_text(self._left_bytes)})"
        raise ExecutionFailed(FailureReason.OUTPUT, message)


class Remarks:
    """Status lines about single entries: the first ones, then how many more."""

    def __init__(self, status: Callable[[str], None]) -> None:
        self._status, self._count = status, 0

    def add(self, name: str, what: str) -> None:
        self._count += 1
        if self._count <= MAX_REMARKS:
            self._status(f"{shown(name)} {what}; not kept")

    def finish(self) -> None:
        if self._count > MAX_REMARKS:
            self._status(f"{self._count - MAX_REMARKS:,} more entries of outputs are not kept")


def collect(outputs_dir: Path, *, max_count: int, max_bytes: int, remarks: Remarks) -> Iterator[OutputFile]:
    """Every regular file below `outputs_dir`, hidden and empty ones too, in the order of their names' bytes.

    Nothing is followed. Links, pipes, sockets and devices get a status line. Files that do not fit the limits are
    counted, not yielded; at the end ExecutionFailed says so.
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
    """Takes the descriptor over and closes it."""
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
                remarks.add(_name(parts), f"is {KINDS.get(stat.S_IFMT(found.st_mode), 'no regular file')}")
    finally:
        os.close(descriptor)


def _below(top: Path, parent: int, parts: tuple[bytes, ...], remarks: Remarks) -> Iterator[OutputFile]:
    if len(parts) > MAX_DEPTH:
        remarks.add(_name(parts), f"lies deeper than {MAX_DEPTH} directories")
    else:
        yield from _walk(top, os.open(parts[-1], DIRECTORY, dir_fd=parent), parts, remarks)


def _open_below(top: Path, parts: tuple[bytes, ...]) -> int:
    """Open a file by its path, one part after the other, following no link."""
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


def shown(name: str) -> str:
    """An output in a sentence, on one line."""
    line = "".join(c if c.isprintable() else "?" for c in name)
    return f"outputs/{line if len(line) <= SHOWN else line[:SHOWN] + '…'}"


def _changed(why: str) -> ExecutionFailed:
    return ExecutionFailed(FailureReason.OUTPUT, f"it changed while it was stored: {why}")
