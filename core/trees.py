"""Remove and measure directory trees that a container wrote: any depth, any names, any modes.

`shutil.rmtree` recurses, so 1,000 nested directories raise RecursionError, which killed every slot at every start, and
paths end at 4,096 bytes. These functions use one open directory descriptor at a time, go up by `..` and check where
that leads. They never follow a link and do not enter mounted file systems.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from dataclasses import dataclass, field
from pathlib import Path

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
AS_PATH = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
REMOVE_S = 120.0  # time limit of a removal, which can be repeated: a process that still writes must not occupy a slot
ROUNDS = 5  # attempts if directories are moved during the walk
BATCH = 1000  # names of one directory that are held in memory


def remove(path: Path, limit_s: float = REMOVE_S) -> bool:
    """Remove a file or a tree; return False if part of it could not be removed within `limit_s`.

    It can be killed at any time and repeated.
    """
    deadline = time.monotonic() + limit_s
    for _ in range(ROUNDS):
        with contextlib.suppress(OSError):
            if _is_directory(path):
                _empty(path, deadline)
                path.rmdir()
            else:
                path.unlink()
        if not os.path.lexists(path):
            return True
    return False


def measure_size(path: Path) -> int:
    """Return the disk usage in bytes of a directory's content. Entries that vanish or cannot be opened count as 0."""
    total = 0
    with contextlib.suppress(OSError), contextlib.closing(_Cursor(path)) as cursor:
        levels = [_Level(cursor.identity)]
        total, levels[0].waiting = cursor.measure()
        while levels:
            if not levels[-1].waiting:
                levels.pop()
                if levels:
                    cursor.go("..", levels[-1].identity)
            elif cursor.go(levels[-1].waiting.pop()):
                levels.append(_Level(cursor.identity))
                own, levels[-1].waiting = cursor.measure()
                total += own
    return total


@dataclass
class _Level:
    """A directory on the path of the walk: names still to visit, and names that cannot be removed."""

    identity: tuple[int, int]
    name: str = ""
    waiting: list[str] = field(default_factory=list)
    stuck: set[str] = field(default_factory=set)


class _Cursor:
    """The one open directory of a walk, which goes up by `..` and checks where that leads."""

    def __init__(self, path: Path) -> None:
        self._descriptor = _open(path)

    def close(self) -> None:
        os.close(self._descriptor)

    @property
    def identity(self) -> tuple[int, int]:
        found = os.fstat(self._descriptor)
        return found.st_dev, found.st_ino

    def go(self, name: str, expected: tuple[int, int] | None = None) -> bool:
        """Move to a directory relative to this one; return False if it cannot be opened or is a mount point.

        Raises OSError if it is not the expected one.
        """
        try:
            there = _open(name, self._descriptor)
        except OSError:
            if expected:
                raise
            return False
        if not expected and os.fstat(there).st_dev != self.identity[0]:
            os.close(there)
            return False
        os.close(self._descriptor)
        self._descriptor = there
        if expected and self.identity != expected:
            raise OSError("a directory was moved while it was visited")
        return True

    def measure(self) -> tuple[int, list[str]]:
        """Return the disk usage of the entries in bytes, and the names of those that are directories."""
        total, directories = 0, []
        with os.scandir(self._descriptor) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    total += entry.stat(follow_symlinks=False).st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        directories.append(entry.name)
        return total, directories

    def clear(self, stuck: set[str], deadline: float) -> list[str]:
        """Remove files and empty directories; return the names of the first other directories that are not `stuck`."""
        directories: list[str] = []
        self._make_writable()
        with os.scandir(self._descriptor) as entries:
            for entry in entries:
                if len(directories) == BATCH or time.monotonic() > deadline:
                    break
                with contextlib.suppress(OSError):
                    if not entry.is_dir(follow_symlinks=False):
                        os.unlink(entry.name, dir_fd=self._descriptor)
                    elif entry.name not in stuck and not self.remove_directory(entry.name):
                        directories.append(entry.name)
        return directories

    def remove_directory(self, name: str) -> bool:
        try:
            os.rmdir(name, dir_fd=self._descriptor)
        except OSError:
            return False
        return True

    def _make_writable(self) -> None:
        if os.fstat(self._descriptor).st_mode & stat.S_IRWXU != stat.S_IRWXU:
            with contextlib.suppress(OSError):  # it belongs to another user, and may be writable all the same
                os.fchmod(self._descriptor, 0o700)


def _empty(path: Path, deadline: float) -> None:
    """Remove everything removable below a directory. Raises OSError if directories are moved meanwhile."""
    with contextlib.closing(_Cursor(path)) as cursor:
        levels = [_Level(cursor.identity)]
        while levels and time.monotonic() < deadline:
            level = levels[-1]
            level.waiting = level.waiting or cursor.clear(level.stuck, deadline)
            if level.waiting:
                name = level.waiting.pop()
                if cursor.go(name):
                    levels.append(_Level(cursor.identity, name))
                else:
                    level.stuck.add(name)
                continue
            levels.pop()
            if levels:
                cursor.go("..", levels[-1].identity)
                if not cursor.remove_directory(level.name):
                    levels[-1].stuck.add(level.name)


def _is_directory(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _open(name: str | Path, parent: int | None = None) -> int:
    """Return a descriptor of a directory; one that denies it gets mode 0700 first."""
    try:
        return os.open(name, DIRECTORY, dir_fd=parent)
    except PermissionError:
        # fchmodat would follow a link, and a directory of mode 000 can be opened as a path only
        descriptor = os.open(name, AS_PATH, dir_fd=parent)
        try:
            Path(f"/proc/self/fd/{descriptor}").chmod(0o700)
        finally:
            os.close(descriptor)
        return os.open(name, DIRECTORY, dir_fd=parent)
