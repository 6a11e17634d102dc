"""Remove and measure directory trees that a container wrote: any depth, any names, any modes.

`shutil.rmtree` recurses, so 1,000 nested directories raise RecursionError, and paths end at 4,096 bytes. Everything here
goes by directory descriptors, of which a constant number is open, and never follows a link.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
REMOVE_S = 120.0  # of one removal: it is repeatable, and a process that still writes must not keep a slot


def remove(path: Path, limit_s: float = REMOVE_S) -> bool:
    """Remove a file or a tree; false when part of it could not be removed within `limit_s`.

    Nested directories are moved up into the topmost one before they are emptied. So it may be killed at any moment and
    repeated, and every round continues where the last one ended.
    """
    deadline = time.monotonic() + limit_s
    if _is_directory(path):
        with contextlib.suppress(OSError), _opened(path) as top:
            while _empty_once(top, deadline):
                pass
    with contextlib.suppress(OSError):
        path.rmdir() if _is_directory(path) else path.unlink()
    return not os.path.lexists(path)


def size(path: Path) -> int:
    """Bytes on disk of everything below a directory. What vanishes or cannot be opened meanwhile counts as nothing."""
    total = 0
    with contextlib.suppress(OSError), contextlib.closing(_Cursor(path)) as cursor:
        levels = [(cursor.identity(), *cursor.measure())]  # identity, bytes, and names of directories yet to visit
        while levels:
            _, own, waiting = levels[-1]
            if not waiting:
                total += own
                levels.pop()
                if levels:
                    cursor.go("..", levels[-1][0])
            elif cursor.go(waiting.pop()):
                levels.append((cursor.identity(), *cursor.measure()))
    return total


class _Cursor:
    """The one open directory of a walk."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, DIRECTORY)

    def close(self) -> None:
        os.close(self._descriptor)

    def identity(self) -> tuple[int, int]:
        found = os.fstat(self._descriptor)
        return found.st_dev, found.st_ino

    def measure(self) -> tuple[int, list[str]]:
        """Bytes on disk of the entries, and the names of those that are directories."""
        total, directories = 0, []
        with os.scandir(self._descriptor) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    total += entry.stat(follow_symlinks=False).st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        directories.append(entry.name)
        return total, directories

    def go(self, name: str, expected: tuple[int, int] | None = None) -> bool:
        """Move to a directory from here; false when it cannot be opened. Raises OSError when it is not the expected one."""
        try:
            there = os.open(name, DIRECTORY, dir_fd=self._descriptor)
        except OSError:
            if expected:
                raise
            return False
        os.close(self._descriptor)
        self._descriptor = there
        if expected and self.identity() != expected:
            raise OSError("a directory was moved while it was measured")
        return True


def _is_directory(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


@contextlib.contextmanager
def _opened(name: str | Path, parent: int | None = None) -> Iterator[int]:
    """A descriptor of a directory that its owner may list and change, whatever its mode was."""
    try:
        descriptor = os.open(name, DIRECTORY, dir_fd=parent)
    except PermissionError:
        _allow(name, parent)
        descriptor = os.open(name, DIRECTORY, dir_fd=parent)
    try:
        with contextlib.suppress(OSError):  # it belongs to somebody else, and may be writable all the same
            os.fchmod(descriptor, 0o700)
        yield descriptor
    finally:
        os.close(descriptor)


def _allow(name: str | Path, parent: int | None) -> None:
    """`fchmodat` follows links, and a directory of mode 000 cannot be opened but as a path."""
    descriptor = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        Path(f"/proc/self/fd/{descriptor}").chmod(0o700)
    finally:
        os.close(descriptor)


def _empty_once(top: int, deadline: float) -> bool:
    """Remove the entries of a directory; true when that changed something, so that another round may find more."""
    changed = False
    with os.scandir(top) as entries:
        for entry in entries:
            if time.monotonic() > deadline:
                return False
            changed |= _delete(top, entry) or (
                entry.is_dir(follow_symlinks=False) and _lift_content(top, entry.name, deadline)
            )
    return changed


def _delete(parent: int, entry: os.DirEntry[str]) -> bool:
    """Remove a file or an empty directory."""
    try:
        if entry.is_dir(follow_symlinks=False):
            os.rmdir(entry.name, dir_fd=parent)
        else:
            os.unlink(entry.name, dir_fd=parent)
    except OSError:
        return False
    return True


def _lift_content(top: int, name: str, deadline: float) -> bool:
    """Remove the files of a directory in `top`, move its directories up into `top`, and remove it when it is empty."""
    changed = False
    with contextlib.suppress(OSError), _opened(name, top) as below:
        with os.scandir(below) as entries:
            for entry in entries:
                if time.monotonic() > deadline:
                    return False
                changed |= _delete(below, entry) or (entry.is_dir(follow_symlinks=False) and _lift(below, entry, top))
        os.rmdir(name, dir_fd=top)
    return changed


def _lift(parent: int, entry: os.DirEntry[str], top: int) -> bool:
    try:
        with _opened(entry.name, parent):  # moving a directory elsewhere needs the right to write to it
            os.rename(entry.name, secrets.token_hex(16), src_dir_fd=parent, dst_dir_fd=top)
    except OSError:
        return False
    return True
