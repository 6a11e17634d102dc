"""Single commits, fetched without history and within limits: heads of pull requests from forks, and submodules.

They are kept apart from the mirror, which must never contain a shallow commit: that would cut the history of every
branch into which it is merged later. The repository of heads borrows the mirror's objects, and deleting a head frees
its space.

A head is fetched with `--depth=1` as one pack, into `git/N.forks.git`. `RLIMIT_FSIZE` limits its size, since git has
no option for that.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from core.errors import GitError
from core.files import write_atomically
from core.git import command, remotes
from core.git.remotes import RemoteSource
from core.git.repository import PINS, as_git_error, check_ref, check_sha, init_mirror, opened, resolve, to_pinned_ref

PRUNE_LIMIT_S = 600.0
BLOCK = 512  # bytes; the unit of the limit on file sizes


class TooLarge(GitError):
    """Raised when a head or a submodule exceeds its size limit."""


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Limits in bytes: `bytes` for the pack of one head, `all_bytes` for all heads of a repository together."""

    bytes: int
    all_bytes: int


def init_forks(path: Path, mirror: Path) -> None:
    """Create or repair the repository for heads of forks next to its `mirror`. Idempotent."""
    init_mirror(path)
    alternates, text = path / "objects" / "info" / "alternates", f"../../{mirror.name}/objects\n"
    with as_git_error(path):
        if not alternates.exists() or alternates.read_text(encoding="utf-8") != text:
            alternates.parent.mkdir(exist_ok=True)
            write_atomically(alternates, text.encode(), 0o644)


def fetch_head(path: Path, source: RemoteSource, ref: str, *, kept_as: str, bounds: Bounds) -> None:
    """Fetch the commit of one remote ref, without its history, and store it at `pinned(kept_as)`.

    Objects that the mirror has are not transferred. Raises TooLarge and TooSlow beyond the limits, and keeps nothing
    then. Raises GitError for any other failure.
    """
    kept = to_pinned_ref(check_ref(kept_as))
    with remotes.one_writer(path), remotes.errors_about(source):
        limit = min(bounds.bytes, bounds.all_bytes - _size(path))
        if limit <= 0:
            _prune(path)
            limit = min(bounds.bytes, bounds.all_bytes - _size(path))
        if limit <= 0:
            raise TooLarge(f"the heads of pull requests from forks take up more than {bounds.all_bytes:,} bytes")
        _fetch(path, source, f"+{check_ref(ref)}:{kept}", limit)


def fetch_submodule(path: Path, source: RemoteSource, sha: str, *, max_bytes: int) -> None:
    """Fetch a commit by its name and pin it; do nothing if it exists. Raises TooLarge, TooSlow and GitError."""
    ref = PINS + check_sha(sha)
    with remotes.one_writer(path), remotes.errors_about(source):
        if resolve(path, ref) is None:  # the ref is written last: if it exists, the commit is complete
            _fetch(path, source, f"+{sha}:{ref}", max_bytes)


def _fetch(path: Path, source: RemoteSource, refspec: str, limit: int) -> None:
    try:
        remotes.fetch_refspecs(path, source, ["--depth=1"], [refspec], file_limit=limit)
    except GitError:
        if remotes.measure_largest_partial_pack(path) >= limit - BLOCK:  # the kernel allows writing up to the limit
            raise TooLarge(f"it is larger than {limit:,} bytes") from None
        raise
    finally:
        remotes.remove_partial_packs(path)


def forget_head(path: Path, kept_as: str) -> None:
    """Delete a head and the objects that only it needs; do nothing if there is none. Raises GitError."""
    if not path.exists():
        return
    ref = to_pinned_ref(check_ref(kept_as))
    with remotes.one_writer(path):
        with opened(path) as repository:
            if ref not in repository.references:
                return
            repository.references.delete(ref)
        _prune(path)


def is_shallow(path: Path) -> bool:
    """Return whether the history of some commits is missing."""
    with contextlib.suppress(FileNotFoundError):
        return (path / "shallow").stat().st_size > 0
    return False


def _prune(path: Path) -> None:
    command.run(["repack", "-a", "-d", "-l", "-q"], repository=path, time_limit_s=PRUNE_LIMIT_S)
    command.run(["prune", "--expire=now"], repository=path, time_limit_s=PRUNE_LIMIT_S)


def _size(path: Path) -> int:
    """Return the size of the packs in bytes; fetching creates no loose objects here."""
    try:
        with os.scandir(path / "objects" / "pack") as entries:
            return sum(entry.stat().st_size for entry in entries)
    except OSError as error:
        raise GitError(f"the repository {path} cannot be used: {error}") from None
