"""A commit's files on this machine: one tree per commit, shared by all executions of it as a lower layer."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path

from core import git, names
from core.errors import ExecutionFailed, GitError, InvalidInput
from core.states import FailureReason

USERNAME = "runner"
LEFTOVER_S = 3600.0  # a directory of a preparation that was killed
TEMPORARY = ".new-"


def tree_of(cache_dir: Path, project: str, sha: str) -> Path:
    """Where the tree of a commit is, or will be."""
    try:
        return cache_dir / "trees" / names.check_project(project) / names.check_sha(sha)
    except InvalidInput as error:
        raise ExecutionFailed(
            FailureReason.INTERNAL, f"{project} at {sha[:12]} cannot be checked out: {error}"
        ) from None


def prepare(cache_dir: Path, server_url: str, token: str, project: str, sha: str) -> Path:
    """The directory with the files of a commit, fetched from the server if this machine does not have it yet.

    The tree is immutable: mount it, never write to it. Its modification time is the last use of it. Several processes
    may prepare the same commit at once. Raises ExecutionFailed.
    """
    tree = tree_of(cache_dir, project, sha)
    try:
        if not _is_there(tree):
            repository = _fetched(cache_dir, server_url, token, project, sha)
            _export(repository, sha, tree)
    except (GitError, InvalidInput, OSError) as error:
        raise ExecutionFailed(
            FailureReason.INTERNAL, f"commit {sha[:12]} of {project} cannot be checked out: {error}"
        ) from None
    return tree


def _is_there(tree: Path) -> bool:
    try:
        os.utime(tree)
    except FileNotFoundError:
        return False
    return True


def _fetched(cache_dir: Path, server_url: str, token: str, project: str, sha: str) -> Path:
    """The project's cache repository, with the commit in it."""
    repository = cache_dir / "git" / f"{project}.git"
    repository.parent.mkdir(parents=True, exist_ok=True)
    with open(repository.parent / f"{project}.lock", "ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        git.init_mirror(repository)
    url = f"{server_url.rstrip('/')}/git/{project}.git"
    git.fetch_commit(repository, url, sha, username=USERNAME, password=token)
    return repository


def _export(repository: Path, sha: str, tree: Path) -> None:
    """Write the tree beside its place and move it there whole; whoever comes second throws theirs away."""
    tree.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(tree.parent)
    new = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=tree.parent))
    try:
        git.export(repository, sha, new)
        new.rename(tree)
    except OSError:
        if not tree.exists():
            raise
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _remove_leftovers(directory: Path) -> None:
    for entry in directory.glob(f"{TEMPORARY}*"):
        with contextlib.suppress(FileNotFoundError):
            if entry.stat().st_mtime < time.time() - LEFTOVER_S:
                shutil.rmtree(entry, ignore_errors=True)
