"""What a commit changed, where its forge shows it, and its configuration file: read from its repository."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from core import git
from core.errors import GitError
from core.model import Commit, Repository
from web.config.steps.parse import YAML_BYTES
from web.services.context import Context
from web.services.presentation.annotated_source import AnnotatedFile, annotate
from web.services.repositories import hosting


@dataclass(frozen=True, kw_only=True)
class CommitFacts:
    """`parent` is the name of the first parent, "" if it has none or the commit is not here; `page` may be "" too."""

    parent: str
    diff: git.DiffStat | None
    page: str
    source: AnnotatedFile | None


def collect_facts(context: Context, repository: Repository, commit: Commit) -> CommitFacts:
    """Return the facts about a commit; what its repository cannot give is left out."""
    path = hosting.get_repository_path(context.config, repository)
    parent, diff = ("", None) if commit.adhoc else _difference(path, commit.sha)
    try:
        data = git.read_file(path, commit.sha, commit.yaml_path, YAML_BYTES)
    except GitError:
        data = None
    source = None if data is None else annotate(data.decode("utf-8-sig", "replace"), commit.problems)
    page = "" if commit.adhoc else hosting.get_commit_page(repository, commit.sha)
    return CommitFacts(parent=parent, diff=diff, page=page, source=source)


@functools.lru_cache(maxsize=1024)
def _difference(path: Path, sha: str) -> tuple[str, git.DiffStat | None]:
    """Return the first parent and what the commit changed; neither ever changes."""
    try:
        found = git.find_commit(path, sha)
        if found is None:
            return "", None
        parent = found.parents[0] if found.parents else None
        return parent or "", git.compute_diff_stat(path, parent, sha)
    except GitError:
        return "", None
