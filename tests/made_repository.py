"""Repositories for tests: normal ones made by git, hostile ones made of raw objects that git would not write."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "Ada Lovelace",
    "GIT_AUTHOR_EMAIL": "ada@example.org",
    "GIT_AUTHOR_DATE": "1700000000 +0200",
    "GIT_COMMITTER_NAME": "Ada Lovelace",
    "GIT_COMMITTER_EMAIL": "ada@example.org",
    "GIT_COMMITTER_DATE": "1700000000 +0200",
}


class MadeRepository:
    """A bare repository at `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.exists():
            subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(path)], env=ENVIRONMENT, check=True)

    def git(self, *arguments: str, stdin: bytes = b"") -> str:
        command = ["git", f"--git-dir={self.path}", *arguments]
        done = subprocess.run(command, env=ENVIRONMENT, input=stdin, capture_output=True, check=True)
        return done.stdout.decode().strip()

    def blob(self, content: bytes) -> str:
        return self.git("hash-object", "-w", "--stdin", stdin=content)

    def tree(self, *entries: tuple[str, bytes, str]) -> str:
        """A tree of (mode, name, sha) as given: names and order are not checked."""
        raw = b"".join(mode.encode() + b" " + name + b"\0" + bytes.fromhex(sha) for mode, name, sha in entries)
        return self.git("hash-object", "-w", "-t", "tree", "--literally", "--stdin", stdin=raw)

    def commit_tree(
        self, tree: str, *parents: str, message: str = "a commit", ref: str | None = "refs/heads/main"
    ) -> str:
        sha = self.git("commit-tree", tree, *(part for parent in parents for part in ("-p", parent)), "-m", message)
        if ref:
            self.git("update-ref", ref, sha)
        return sha

    def commit(
        self, files: dict[str, bytes], *parents: str, message: str = "a commit", ref: str | None = "refs/heads/main"
    ) -> str:
        """A commit of plain files; `/` in a name makes directories."""
        blobs = {content: self.blob(content) for content in set(files.values())}
        tree = self._tree_of({name: blobs[content] for name, content in files.items()})
        return self.commit_tree(tree, *parents, message=message, ref=ref)

    def _tree_of(self, files: dict[str, str]) -> str:
        """The tree of blobs by their paths."""
        here = {name: blob for name, blob in files.items() if "/" not in name}
        below: dict[str, dict[str, str]] = {}
        for name, blob in files.items():
            if "/" in name:
                directory, _, rest = name.partition("/")
                below.setdefault(directory, {})[rest] = blob
        lines = [f"100644 blob {blob}\t{name}" for name, blob in here.items()]
        lines += [f"040000 tree {self._tree_of(inner)}\t{name}" for name, inner in below.items()]
        return self.git("mktree", stdin="\n".join(lines).encode())
