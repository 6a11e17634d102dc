"""Write the files of a package as a commit on no branch, kept by a ref below `refs/pushmill/adhoc/`.

The ref is written last, so a commit that its ref names is complete.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pygit2

from core.errors import GitError
from core.git import command
from core.git.pack import BLOB, COMMIT, TREE, ObjectSpool
from core.git.remotes import locked
from core.git.repository import PINS, opened
from core.packages import PackageEntry

ADHOC = f"{PINS}adhoc/"
TIDY_LIMIT_S = 1800.0
MANY_PACKS = 50  # each package adds one
LEFTOVER_S = 3600.0  # a partial pack that did not grow for this long was left by a killed process
TREE_MODE = b"40000"


@dataclass(frozen=True)
class Folder:
    """The files, as (mode, name of the blob), and folders of a folder by name."""

    files: dict[bytes, tuple[bytes, bytes]] = field(default_factory=dict)
    folders: dict[bytes, Folder] = field(default_factory=dict)


class PackageSpool(ObjectSpool):
    """Collects the files of a package for `write_commit`; `bytes` is their size."""

    def __init__(self, directory: Path, *, level: int) -> None:
        super().__init__(directory, level=level)
        self.bytes, self._top = 0, Folder()

    def add_entry(self, entry: PackageEntry, keep: int = 0) -> bytes:
        """Add a file or link, whose path is checked; return the first `keep` bytes of its content."""
        kept = bytearray()

        def content() -> Iterator[bytes]:
            for chunk in entry.content:
                kept.extend(chunk[: keep - len(kept)])
                yield chunk

        *folders, name = entry.path.split(b"/")
        parent = self._top
        for folder in folders:
            parent = parent.folders.setdefault(folder, Folder())
        parent.files[name] = (entry.mode, self.add(BLOB, entry.size, content()))
        self.bytes += entry.size
        return bytes(kept)

    def add_commit(self, *, author: str, message: str, seconds: int) -> str:
        """Add the commit of all entries and its trees; return its sha."""
        person = f"{author} <> {seconds} +0000"
        tree = self._add_tree(self._top).hex()
        text = f"tree {tree}\nauthor {person}\ncommitter {person}\n\n{message}".encode("utf-8", "replace")
        return self.add(COMMIT, len(text), (text,)).hex()

    def _add_tree(self, folder: Folder) -> bytes:
        trees = {name + b"/": (TREE_MODE, self._add_tree(child)) for name, child in folder.folders.items()}
        found = sorted((folder.files | trees).items())  # git sorts folders as if their names ended in a slash
        data = b"".join(b"%s %s\0%s" % (mode, name.rstrip(b"/"), sha) for name, (mode, sha) in found)
        return self.add(TREE, len(data), (data,))


def write_commit(path: Path, name: str, spool: PackageSpool, sha: str) -> str:
    """Write a commit and return its sha; if `name` is known, return that of the known one. Call it within `locked`.

    Objects that the repository has are not written again.
    """
    if (known := list_adhoc_commits(path).get(name)) is not None:
        return known
    with opened(path) as repository:
        spool.write_pack(path / "objects" / "pack", lambda name: pygit2.Oid(raw=name) in repository)
        repository.references.create(ADHOC + name, sha)
    return sha


def list_adhoc_commits(path: Path) -> dict[str, str]:
    """Return the sha of each ad-hoc commit by its name."""
    with opened(path) as repository:
        found = [ref for ref in repository.references.iterator() if ref.name.startswith(ADHOC)]
        return {ref.name.removeprefix(ADHOC): str(ref.target) for ref in found}


def forget_adhoc(path: Path, names: Iterable[str]) -> None:
    """Delete the refs of ad-hoc commits. Call it within `locked`."""
    with opened(path) as repository:
        for name in names:
            repository.references.delete(ADHOC + name)


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
    without_index = (pack for pack in packs.glob("*.pack") if not pack.with_suffix(".idx").exists())
    for file in (*packs.glob("tmp_*"), *without_index):
        with contextlib.suppress(FileNotFoundError):
            if file.stat().st_mtime < time.time() - LEFTOVER_S:
                file.unlink()
