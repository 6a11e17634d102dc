"""The commit that an event ends at: pinned, and read from the object store with its configuration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from core import git
from core.errors import GitError, InvalidYaml
from core.model import Project
from core.steps.parse import YAML_BYTES
from core.steps.sandbox import parse_limited
from web.store import commits

MISSING_ATTEMPTS = 5  # a forge may announce a commit seconds before it serves it; for ever means it was forced away


class CommitMissing(GitError):
    """Raised when an event names a commit that the repository does not have, or not yet."""


class HeadRefused(GitError):
    """Raised when the head of a fork's pull request is larger than what is fetched of strangers, or slower."""


@dataclass(frozen=True, kw_only=True)
class Head:
    """A commit with its configuration as `commits.add` records it: `config_state` is ok, missing or broken."""

    info: git.CommitInfo
    config_state: str
    config: Any
    problems: tuple[str, ...]


def read(db: Database, project: Project, path: Path, name: str) -> Head:
    """Pin and read the commit that `name` is or leads to, in the repository at `path`. Raises CommitMissing."""
    sha = git.resolve(path, name)
    if sha is None:
        raise CommitMissing("the repository has no such commit")
    git.pin(path, sha)
    return look(db, project, path, sha)


def look(db: Database, project: Project, path: Path, sha: str) -> Head:
    """The same of a commit that is there, without pinning it."""
    info = git.commit_info(path, sha)
    known = commits.known(db, project.id, sha)
    if known is not None and known.yaml_path == project.yaml_path:
        return Head(info=info, config_state=known.config_state, config=known.config, problems=known.problems)
    state, config, problems = _configuration(path, sha, project.yaml_path)
    return Head(info=info, config_state=state, config=config, problems=problems)


def _configuration(path: Path, sha: str, yaml_path: str) -> tuple[str, Any, tuple[str, ...]]:
    """The state of a commit's configuration, the configuration and what there is to say about it."""
    try:
        data = git.read_file(path, sha, yaml_path, YAML_BYTES)
        if data is None:
            return "missing", None, (f"the commit has no {yaml_path}: nothing can run",)
        found = parse_limited(data)
    except InvalidYaml as error:
        return "broken", None, tuple(error.problems)
    except GitError as error:
        return "broken", None, (str(error),)
    return "ok", found.config, found.problems
