"""Differences between an execution and an earlier one: parameters, metrics, and what both were made from."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from core import git
from core.errors import GitError
from core.model import Commit, Execution, Repository
from web.services.context import Context
from web.services.presentation import comparison
from web.services.presentation.comparison import ComparedLine
from web.services.repositories import hosting
from web.store import commits, metadata, projects

LINES = 30
COMMITS = 10
COMPARED = 4  # commits, each of which costs two runs of git the first time
OMITTED = frozenset({"step", "who"})


@dataclass(frozen=True, kw_only=True)
class CommitChanges:
    """The newest of the commits since another one, as names and subjects; `more` if there are others.

    `diff` is None if it cannot be computed. `page` is the forge's page of the changes, or "".
    """

    commits: Sequence[tuple[str, str]]
    more: bool
    diff: git.DiffStat | None
    page: str


@dataclass(frozen=True, kw_only=True)
class RunChanges:
    """The lines that differ from `base`, of which `more` are left out; `code` is None if the commits do not differ."""

    base: Execution
    lines: list[ComparedLine]
    more: int
    code: CommitChanges | None


def compare_runs(context: Context, base: Execution, execution: Execution) -> RunChanges:
    of = commits.get_many(context.db, {base.commit_id, execution.commit_id})
    latest = metadata.map_latest_by_execution(context.db, [base.id, execution.id])
    lines = [
        line
        for line in comparison.compare_executions([base, execution], of, latest)
        if line.differs and not (line.kind == comparison.ORIGIN and line.name in OMITTED)
    ]
    code = list_code_changes(context, [base, execution], of)
    return RunChanges(base=base, lines=lines[:LINES], more=len(lines[LINES:]), code=code[0][1] if code else None)


def list_code_changes(
    context: Context, found: Sequence[Execution], of: Mapping[int, Commit]
) -> list[tuple[Execution, CommitChanges]]:
    """Return what the commits of executions changed since that of the first one, for the first few that differ.

    Ad-hoc code and other repositories have no common history.
    """
    base = of[found[0].commit_id]
    first = {execution.commit_id: execution for execution in reversed(found)}  # of each commit
    related = [
        (execution, of[commit_id])
        for commit_id, execution in reversed(first.items())
        if commit_id != base.id
        and of[commit_id].repository_id == base.repository_id
        and not (base.adhoc or of[commit_id].adhoc)
    ]
    repositories = projects.list_repositories(context.db, found[0].project_id) if related else []
    repository = next((one for one in repositories if one.id == base.repository_id), None)
    if repository is None:
        return []
    return [(execution, _commit_changes(context, repository, base, after)) for execution, after in related[:COMPARED]]


def _commit_changes(context: Context, repository: Repository, before: Commit, after: Commit) -> CommitChanges:
    path = hosting.get_repository_path(context.config, repository)
    found, diff = _between(path, before.sha, after.sha)
    page = hosting.get_changes_page(repository, before.identifier, after.identifier)
    return CommitChanges(commits=found[:COMMITS], more=len(found) > COMMITS, diff=diff, page=page)


@functools.lru_cache(maxsize=1024)
def _between(path: Path, old: str, new: str) -> tuple[Sequence[tuple[str, str]], git.DiffStat | None]:
    """Return the newest commits between two, and the difference between these; neither ever changes."""
    try:
        return git.list_commits_between(path, old, new, COMMITS + 1) or (), git.compute_diff_stat(path, old, new)
    except GitError:
        return (), None
