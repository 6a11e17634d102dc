"""A commit's files on this machine: one tree per commit, shared by all executions of it as a lower layer.

A commit is fetched by sha into the runner's bare cache and written once as a read-only tree. Each execution gets a
copy-on-write layer over it, a Docker volume of type `overlay`: milliseconds, where copying 3,000 files costs seconds.
Without overlay it is copied.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from core import git, names, trees
from core.errors import ExecutionFailed, GitError, InvalidInput
from core.states import FailureReason
from runner.locks import held
from runner.state_dir import read_json, write_json

Complete = Callable[[Path, Path, git.Needed, Callable[[str], None]], list[str]]
USERNAME = "runner"
TEMPORARY = ".new-"


def lock_of(cache_dir: Path) -> Path:
    """Held shared to mark a tree as used, and by the cleanup while it looks at the marks and moves trees away."""
    return cache_dir / "lock"


def repository_lock_of(cache_dir: Path, project: str) -> Path:
    """Held shared as long as somebody needs the project's cache repository or writes a tree out of it."""
    return cache_dir / "git" / f"{project}.lock"


def tree_of(cache_dir: Path, project: str, sha: str) -> Path:
    """Where the tree of a commit is, or will be."""
    try:
        return cache_dir / "trees" / names.check_project(project) / names.check_sha(sha)
    except InvalidInput as error:
        raise ExecutionFailed(
            FailureReason.INTERNAL, f"{project} at {sha[:12]} cannot be checked out: {error}"
        ) from None


def use(cache_dir: Path, tree: Path, mark: Path) -> None:
    """Say by the symbolic link `mark` that a tree is in use, whether or not it is there; to be called before `prepare`.

    A lower layer that is removed under a mount leaves an empty repository and no error. With the mark made first, the
    cleanup has either moved the tree away before, so that `prepare` makes it anew, or sees the mark and leaves it.
    """
    with held(lock_of(cache_dir), shared=True):
        mark.unlink(missing_ok=True)
        mark.symlink_to(tree)


def prepare(
    cache_dir: Path, server_url: str, token: str, project: str, sha: str, complete: Complete | None = None
) -> Path:
    """The directory with the files of a commit, fetched from the server if this machine does not have it yet.

    `complete` brings submodules and Git LFS files; without it they stay empty directories and pointers.
    The tree is immutable: mount it, never write to it. Its modification time is the last use of it. Several processes
    may prepare the same commit at once. Raises ExecutionFailed.
    """
    tree = tree_of(cache_dir, project, sha)
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


def notes(tree: Path) -> list[str]:
    """What is said of the tree of a commit whenever it is used: which of its paths are empty, and why."""
    found: list[str] = read_json(_notes_of(tree)) or []
    return found


def forget_notes(tree: Path) -> None:
    """The tree is gone."""
    _notes_of(tree).unlink(missing_ok=True)


def _notes_of(tree: Path) -> Path:
    return tree.with_name(f".{tree.name}.json")


def _fetch_submodule(repository: Path, url: str, token: str, sha: str) -> None:
    """The server keeps the submodules of a project in a repository beside the project's own."""
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
    """The project's cache repository, which stays for the block. Its modification time is the last use of it."""
    repository = cache_dir / "git" / f"{project}.git"
    with held(repository_lock_of(cache_dir, project), shared=True):
        with held(cache_dir / "init.lock"):
            git.init_mirror(repository)
        os.utime(repository)
        yield repository


def _export(repository: Path, sha: str, tree: Path, complete: Complete | None, fetch: Callable[[str], None]) -> None:
    """Write the tree beside its place and move it there whole; whoever comes second throws theirs away."""
    tree.parent.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=tree.parent))
    try:
        needed = git.export(repository, sha, new)
        if needed and complete:
            draft = new.with_name(f"{new.name}.json")  # its own: another slot may write the same
            write_json(draft, complete(repository, new, needed, fetch))
            draft.replace(_notes_of(tree))
        new.rename(tree)
    except OSError:
        if not tree.exists():
            raise
    finally:
        trees.remove(new)
