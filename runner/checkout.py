"""Checks out commits: one tree per commit, which all executions of the commit share as the lower layer of an overlay.

A commit is fetched by sha into the runner's bare cache and written once as a read-only tree. Each execution gets a
copy-on-write layer over it, a Docker volume of type `overlay`. This takes milliseconds; copying 3,000 files takes
seconds. Where overlays are not available the tree is copied.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from core import git, names, trees
from core.errors import ExecutionFailed, GitError, InvalidInput
from core.locks import hold
from core.states import FailureReason
from runner.state_dir import read_json, write_json

Complete = Callable[[Path, Path, git.Needed, Callable[[str], None]], list[str]]
USERNAME = "runner"
TEMPORARY = ".new-"


def get_lock_path(cache_dir: Path) -> Path:
    """Lock file, held shared to mark a tree as used and exclusively by the cleanup to check marks and move trees."""
    return cache_dir / "lock"


def get_repository_lock_path(cache_dir: Path, project: str) -> Path:
    """Lock file, held shared while the project's cache repository is in use or a tree is exported from it."""
    return cache_dir / "git" / f"{project}.lock"


def get_tree_path(cache_dir: Path, project: str, sha: str) -> Path:
    """The path of a commit's tree, whether or not it exists. Raises ExecutionFailed for invalid names."""
    try:
        return cache_dir / "trees" / names.check_project(project) / names.check_sha(sha)
    except InvalidInput as error:
        raise ExecutionFailed(
            FailureReason.INTERNAL, f"{project} at {sha[:12]} cannot be checked out: {error}"
        ) from None


def mark_used(cache_dir: Path, tree: Path, mark: Path) -> None:
    """Mark a tree as used by creating the symbolic link `mark`. Call this before `prepare`; the tree need not exist.

    If a lower layer is removed under a mount, the repository becomes empty without an error. With the mark created
    first, the cleanup has either already moved the tree away, and `prepare` creates it again, or it sees the mark and
    keeps the tree.
    """
    with hold(get_lock_path(cache_dir), shared=True):
        mark.unlink(missing_ok=True)
        mark.symlink_to(tree)


def prepare(
    cache_dir: Path, server_url: str, token: str, project: str, sha: str, complete: Complete | None = None
) -> Path:
    """Return the directory with the files of a commit, fetched from the server unless it is cached.

    `complete` adds submodules and Git LFS files; without it they stay empty directories and pointers.
    The tree is immutable: mount it, never write to it. Its modification time is the time of its last use. Several
    processes may prepare the same commit at once. Raises ExecutionFailed.
    """
    tree = get_tree_path(cache_dir, project, sha)
    try:
        if not _is_there(tree):
            with _repository(cache_dir, project) as repository:
                url = f"{server_url.rstrip('/')}/git/{project}.git"
                git.fetch_commit(repository, url, sha, username=USERNAME, password=token)
                _export(repository, sha, tree, complete, lambda sha: _fetch_submodule(repository, url, token, sha))
    except (GitError, InvalidInput, OSError) as error:
        raise ExecutionFailed(
            FailureReason.INTERNAL, f"commit {sha[:12]} of {project} cannot be checked out: {error}"
        ) from None
    return tree


def read_notes(tree: Path) -> list[str]:
    """Sentences to show whenever the tree is used: which of its paths are incomplete, and why."""
    found: list[str] = read_json(_notes_of(tree)) or []
    return found


def forget_notes(tree: Path) -> None:
    """Delete the notes of a tree that was removed."""
    _notes_of(tree).unlink(missing_ok=True)


def _notes_of(tree: Path) -> Path:
    return tree.with_name(f".{tree.name}.json")


def _fetch_submodule(repository: Path, url: str, token: str, sha: str) -> None:
    """Fetch a submodule's commit; the server keeps the submodules of a project in a second repository."""
    modules = f"{url.removesuffix('.git')}.modules.git"
    git.fetch_commit(repository, modules, sha, username=USERNAME, password=token)


def _is_there(tree: Path) -> bool:
    try:
        os.utime(tree)
    except FileNotFoundError:
        return False
    return True


@contextlib.contextmanager
def _repository(cache_dir: Path, project: str) -> Iterator[Path]:
    """Yield the project's cache repository, locked for the block. Its modification time is the time of its last use."""
    repository = cache_dir / "git" / f"{project}.git"
    with hold(get_repository_lock_path(cache_dir, project), shared=True):
        with hold(cache_dir / "init.lock"):
            git.init_mirror(repository)
        os.utime(repository)
        yield repository


def _export(repository: Path, sha: str, tree: Path, complete: Complete | None, fetch: Callable[[str], None]) -> None:
    """Write the tree to a temporary directory and rename it; if another process was faster, discard this one."""
    tree.parent.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=tree.parent))
    try:
        needed = git.export(repository, sha, new)
        if needed and complete:
            draft = new.with_name(f"{new.name}.json")  # unique: another slot may export the same commit
            write_json(draft, complete(repository, new, needed, fetch))
            draft.replace(_notes_of(tree))
        new.rename(tree)
    except OSError:
        if not tree.exists():
            raise
    finally:
        trees.remove(new)
