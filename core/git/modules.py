"""Submodules and Git LFS objects that a commit needs. Files of a commit are hostile text."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pygit2.enums import FileMode, ObjectType

from core.errors import GitError
from core.git import command, lfs
from core.git.lfs import Pointer
from core.git.repository import opened, read_file, resolve_commit

MAX_ENTRIES = 500_000  # a few kilobytes of trees that name each other can stand for billions of files
MAX_DEPTH = 200
FILES = (FileMode.BLOB, FileMode.BLOB_EXECUTABLE)
CONFIG_BYTES = 1024**2
CONFIG_LIMIT_S = 30.0


@dataclass(frozen=True, kw_only=True)
class Module:
    """A submodule as .gitmodules describes it; `update` is "none" if it must not be fetched."""

    url: str
    update: str = ""


@dataclass(frozen=True, kw_only=True)
class Needed:
    """Submodules and Git LFS objects of a commit; bytes of a path that are not UTF-8 are surrogates.

    `submodules` are (path, commit) pairs; `pointers` are the files whose content is a Git LFS object.
    """

    submodules: list[tuple[str, str]] = field(default_factory=list)
    pointers: list[Pointer] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.submodules or self.pointers)


def find_needed(path: Path, sha: str) -> Needed:
    """Search all files of a commit. Raises GitError if there are too many."""
    found = Needed()
    with opened(path) as repository:
        tree = resolve_commit(repository, sha).peel(ObjectType.TREE)
        for place, entry in _entries(tree):
            if entry.filemode == FileMode.COMMIT:
                found.submodules.append((place, str(entry.id)))
            elif entry.filemode in FILES and repository.odb.read_header(entry.id)[1] <= lfs.POINTER_BYTES:
                pointer = lfs.parse_pointer(place, bytes(entry.data))
                found.pointers.extend([pointer] if pointer else [])
    return found


def read_submodules(path: Path, sha: str) -> dict[str, Module]:
    """Return the submodules that .gitmodules declares, by path. Raises GitError if it cannot be read."""
    sections: dict[str, dict[str, str]] = {}
    for key, value in _config(path, sha, ".gitmodules", r"^submodule\..*\.(path|url|update)$"):
        name, _, field_name = key.removeprefix("submodule.").rpartition(".")
        sections.setdefault(name, {})[field_name] = value
    return {
        found["path"].rstrip("/"): Module(url=found["url"], update=found.get("update", ""))
        for found in sections.values()
        if "path" in found and "url" in found
    }


def read_lfs_settings(path: Path, sha: str) -> dict[str, str]:
    """Return `lfs.url` and `lfs.fetchexclude` of .lfsconfig, if set. Raises GitError if it cannot be read."""
    return dict(_config(path, sha, ".lfsconfig", r"^lfs\.(url|fetchexclude)$"))


def _config(path: Path, sha: str, name: str, pattern: str) -> list[tuple[str, str]]:
    """Return keys and values of a file in git's config format, parsed by git itself, without includes."""
    if read_file(path, sha, name, CONFIG_BYTES) is None:
        return []
    arguments = ["config", "--no-includes", f"--blob={sha}:{name}", "-z", "--get-regexp", pattern]
    try:
        printed = command.run(
            arguments,
            repository=path,
            time_limit_s=CONFIG_LIMIT_S,
            streams=command.capture_output(2 * CONFIG_BYTES),
        )
    except GitError as error:
        if "ended with code 1" in str(error):  # nothing matches
            return []
        raise
    items = printed.decode("utf-8", "surrogateescape").split("\0")
    return [(key, value) for key, _, value in (item.partition("\n") for item in items) if key]


def _entries(tree: Any) -> Iterator[tuple[str, Any]]:
    """Yield all entries except directories, with their paths."""
    waiting, left = [(tree, "", 0)], MAX_ENTRIES
    while waiting:
        directory, prefix, depth = waiting.pop()
        for entry in directory:
            left -= 1
            if left < 0 or depth > MAX_DEPTH:
                raise GitError("the commit has too many files")
            place = prefix + os.fsdecode(entry.raw_name)
            if entry.filemode == FileMode.TREE:
                waiting.append((entry, f"{place}/", depth + 1))
            else:
                yield place, entry
