"""Write the files of a package as a commit on no branch, kept by a ref below `refs/pushmill/adhoc/`.

`git fast-import` reads them as one stream from an unnamed temporary file, which the kernel removes whatever kills us. It
writes one pack and then the ref, so a commit that its ref names is complete.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from core.errors import GitError
from core.git import command
from core.git.remotes import locked
from core.git.repository import PINS, as_git_error, open_repository
from core.packages import PackageEntry

ADHOC = f"{PINS}adhoc/"
WRITE_LIMIT_S = 600.0
TIDY_LIMIT_S = 1800.0
MANY_PACKS = 50  # each package adds one
LEFTOVER_S = 3600.0  # a partial pack that did not grow for this long was left by a killed process
COMPRESSED_ENOUGH = 1.5  # what gzip made only this much smaller is not compressed again


class PackageStream:
    """Collects entries for `write_commit`; use as a context manager."""

    def __init__(self, directory: Path, *, author: str, message: str, name: str, seconds: int) -> None:
        self._file = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115  closed by __exit__
        self.name, self.bytes = name, 0
        text = message.encode("utf-8", "replace")
        self._write(f"feature done\ncommit {ADHOC}{name}\ncommitter {author} <> {seconds} +0000\n".encode())
        self._write(b"data %d\n%s\n" % (len(text), text))

    def __enter__(self) -> PackageStream:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, entry: PackageEntry, keep: int = 0) -> bytes:
        """Add an entry; return the first `keep` bytes of its content."""
        kept = b""
        self._write(b"M %s inline %s\ndata %d\n" % (entry.mode, _quoted(entry.path), entry.size))
        for chunk in entry.content:
            self._write(chunk)
            kept += chunk[: keep - len(kept)]
        self._write(b"\n")
        self.bytes += entry.size
        return kept

    def finish(self) -> BinaryIO:
        """Return the complete stream at its beginning."""
        self._write(b"done\n")
        self._file.flush()
        self._file.seek(0)
        return self._file

    def _write(self, data: bytes) -> None:
        self._file.write(data)


def write_commit(path: Path, stream: PackageStream, *, packed: int) -> str:
    """Write a commit and return its sha; do nothing if there is one. Call it within `locked`. Raises GitError.

    `packed` is the size of the package, which tells whether its files can be compressed at all.
    """
    name = stream.name
    if (known := adhoc_commits(path).get(name)) is not None:
        return known
    level = 0 if stream.bytes < COMPRESSED_ENOUGH * packed else 1  # the runner receives it with this compression
    settings = {"core.compression": level, "pack.compression": level, "fastimport.unpackLimit": 1}
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    arguments = [*options, "fast-import", "--quiet", "--depth=0"]  # no deltas: they cost most of the time
    try:
        streams = command.Streams(stdin=stream.finish().fileno())
        command.run(arguments, repository=path, time_limit_s=WRITE_LIMIT_S, streams=streams)
    except GitError:
        if name not in adhoc_commits(path):  # else git, started by a killed process, has just finished the same
            raise
    return adhoc_commits(path)[name]


def adhoc_commits(path: Path) -> dict[str, str]:
    """Return the sha of each ad-hoc commit by its name."""
    repository = open_repository(path)
    with as_git_error(path):
        found = [ref for ref in repository.references.iterator() if ref.name.startswith(ADHOC)]
        return {ref.name.removeprefix(ADHOC): str(ref.target) for ref in found}


def forget_adhoc(path: Path, names: Iterable[str]) -> None:
    """Delete the refs of ad-hoc commits. Call it within `locked`."""
    references = open_repository(path).references
    with as_git_error(path):
        for name in names:
            references.delete(ADHOC + name)


def tidy(path: Path, *, collect: bool) -> None:
    """Join the packs of many packages, and remove what killed processes left; with `collect`, also garbage.

    Unreferenced objects are kept for two weeks, git's default, because a running command may still need them.
    """
    with locked(path):
        _remove_leftovers(path / "objects" / "pack")
        if collect:
            with contextlib.suppress(GitError):  # a push may have started it too
                command.run(["gc", "--quiet"], repository=path, time_limit_s=TIDY_LIMIT_S)
        elif sum(name.endswith(".pack") for name in os.listdir(path / "objects" / "pack")) > MANY_PACKS:
            command.run(["repack", "--geometric=2", "-d", "-q"], repository=path, time_limit_s=TIDY_LIMIT_S)


def _remove_leftovers(packs: Path) -> None:
    for file in packs.glob("tmp_*"):
        with contextlib.suppress(FileNotFoundError):
            if file.stat().st_mtime < time.time() - LEFTOVER_S:
                file.unlink()


def _quoted(path: bytes) -> bytes:
    """Quote a path as fast-import reads it."""
    escaped = path.replace(b"\\", b"\\\\").replace(b'"', b'\\"').replace(b"\n", b"\\n")
    return b'"%s"' % escaped
