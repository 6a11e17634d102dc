"""Compare two commits.

Trees are hostile: a few kilobytes of trees that name each other can stand for billions of files.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pygit2.enums import FileMode, ObjectType

from core.errors import GitError
from core.git.command import capture_output, run
from core.git.repository import opened, resolve_commit

STAT_FILES = 1000
STAT_LIMIT_S = 1.0
STAT_BYTES = 1_000_000  # larger files count as binary
STAT_OUTPUT = 5_000_000  # most bytes of git's output that are read: a path has at most a few thousand
MAX_DEPTH = 200
MAX_LOOKED_AT = 500_000  # entries of trees; directories that are equal on both sides are not visited


def list_changed_paths(path: Path, old: str | None, new: str, limit: int) -> list[str] | None:
    """Return the sorted files that differ between two commits; None if there are more than `limit`.

    All files of `new` count if `old` is None. A moved file counts at both paths, a submodule as a file. Commit names
    are as in `core.git.resolve`.
    """
    with opened(path) as repository:
        trees = [
            resolve_commit(repository, name).peel(ObjectType.TREE) if name is not None else () for name in (old, new)
        ]
        walk = _Walk(MAX_LOOKED_AT)
        found = []
        for name in walk.differences(trees[0], trees[1], "", 0):
            found.append(name)
            if len(found) > limit:
                return None
    return sorted(found) if walk.left >= 0 else None


@dataclass(frozen=True, kw_only=True)
class DiffStat:
    """How many files a commit changed, and how many lines of text it added and removed."""

    files: int
    added: int
    removed: int


def compute_diff_stat(path: Path, old: str | None, new: str) -> DiffStat | None:
    """Count what changed between two commits, or in `new` if `old` is None; None if that would take too long.

    A moved file counts at both paths, a binary or large one without lines.
    """
    if list_changed_paths(path, old, new, STAT_FILES) is None:
        return None
    of = [old, new] if old is not None else ["--root", "--no-commit-id", new]
    asked = ["diff-tree", "-r", "--numstat", "-z", "--no-renames", "--no-ext-diff", "--no-textconv", *of, "--"]
    options = ["-c", f"core.bigFileThreshold={STAT_BYTES}"]
    try:
        printed = run(
            [*options, *asked], repository=path, time_limit_s=STAT_LIMIT_S, streams=capture_output(STAT_OUTPUT)
        )
    except GitError:
        return None
    counts = [line.split(b"\t", 2)[:2] for line in printed.split(b"\0") if line]
    added, removed = (sum(int(count[side]) for count in counts if count[side].isdigit()) for side in (0, 1))
    return DiffStat(files=len(counts), added=added, removed=removed)


def list_commits_between(path: Path, old: str, new: str, limit: int) -> list[tuple[str, str]] | None:
    """Return the names and subjects of the newest commits that `new` has and `old` has not, at most `limit`.

    None if that would take too long or a commit is missing here. `old` and `new` are full names.
    """
    asked = ["log", f"--max-count={limit}", "--format=%H %s", "--no-show-signature", f"{old}..{new}", "--"]
    try:
        printed = run(asked, repository=path, time_limit_s=STAT_LIMIT_S, streams=capture_output(STAT_OUTPUT))
    except GitError:
        return None
    lines = printed.decode("utf-8", "replace").removesuffix("\n").split("\n")
    return [(sha, subject) for sha, _, subject in (line.partition(" ") for line in lines if line)]


def find_merge_base(path: Path, one: str, other: str) -> str | None:
    """Return the newest common ancestor of two commits; None if there is none or one of the commits is missing here."""
    with opened(path) as repository:
        try:
            first, second = resolve_commit(repository, one), resolve_commit(repository, other)
        except GitError:
            return None
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
