"""Compare two commits.

Trees are hostile: a few kilobytes of trees that name each other can stand for billions of files.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pygit2.enums import FileMode, ObjectType

from core.errors import GitError
from core.git.repository import as_git_error, commit_at, open_repository

MAX_DEPTH = 200
MAX_LOOKED_AT = 500_000  # entries of trees; directories that are equal on both sides are not visited


def changed_paths(path: Path, old: str | None, new: str, limit: int) -> list[str] | None:
    """Return the sorted files that differ between two commits; None if there are more than `limit`.

    All files of `new` count if `old` is None. A moved file counts at both paths, a submodule as a file. Commit names
    are as in `core.git.resolve`.
    """
    repository = open_repository(path)
    with as_git_error(path):
        trees = [commit_at(repository, name).peel(ObjectType.TREE) if name is not None else () for name in (old, new)]
        walk = _Walk(MAX_LOOKED_AT)
        found = []
        for name in walk.differences(trees[0], trees[1], "", 0):
            found.append(name)
            if len(found) > limit:
                return None
    return sorted(found) if walk.left >= 0 else None


def merge_base(path: Path, one: str, other: str) -> str | None:
    """Return the newest common ancestor of two commits; None if there is none or one of the commits is missing here."""
    repository = open_repository(path)
    try:
        first, second = commit_at(repository, one), commit_at(repository, other)
    except GitError:
        return None
    with as_git_error(path):
        found = repository.merge_base(first.id, second.id)
    return None if found is None else str(found)


class _Walk:
    """Compares trees until `left` entries have been visited; `left` is negative if that was not enough."""

    def __init__(self, left: int) -> None:
        self.left = left

    def differences(self, old: Any, new: Any, prefix: str, depth: int) -> Iterator[str]:
        before, after = _entries(old), _entries(new)
        self.left = self.left - len(before) - len(after) if depth <= MAX_DEPTH else -1
        for name in before.keys() | after.keys():
            if self.left < 0:
                return
            one, other = before.get(name), after.get(name)
            if one and other and (one.id, one.filemode) == (other.id, other.filemode):
                continue
            shown = prefix + name.decode("utf-8", "replace")
            if _is_file(one) or _is_file(other):
                yield shown
            if _is_tree(one) or _is_tree(other):
                inner = (one if _is_tree(one) else (), other if _is_tree(other) else ())
                yield from self.differences(*inner, f"{shown}/", depth + 1)


def _entries(tree: Any) -> dict[bytes, Any]:
    return {entry.raw_name: entry for entry in tree}


def _is_tree(entry: Any) -> bool:
    return entry is not None and entry.filemode == FileMode.TREE


def _is_file(entry: Any) -> bool:
    return entry is not None and entry.filemode != FileMode.TREE
