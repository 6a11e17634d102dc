"""Problems that keep pushes of a project from running: pending approvals, failed fetches, rejected deliveries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core import clock
from core.model import Project, Repository
from web.store import approvals, deliveries, projects
from web.store.db import Database

RECENT_S = 24 * 3600.0


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """A problem. If `is_approval`, a commit needs approval; otherwise the page of deliveries has details."""

    project: Project
    text: str
    is_approval: bool = False


def list_troubles(db: Database, found: Sequence[Project]) -> list[Trouble]:
    """List the problems of projects, in the order of the projects."""
    ids = [project.id for project in found]
    waiting, repositories = approvals.count_by_project(db), projects.list_repositories(db, *ids)
    since = clock.add_to_now(-RECENT_S)
    refused = deliveries.summarize_refused(db, ids, since)
    return [
        trouble
        for project in found
        for trouble in (
            *_approvals(project, waiting.get(project.id, 0)),
            *_fetches(project, repositories),
            *_refusals(project, refused.get(project.id)),
        )
    ]


def _approvals(project: Project, count: int) -> list[Trouble]:
    text = (
        "1 commit from a fork is waiting for approval"
        if count == 1
        else f"{count} commits from forks are waiting for approval"
    )
    return [Trouble(project=project, text=text, is_approval=True)] if count else []


def _fetches(project: Project, repositories: Sequence[Repository]) -> list[Trouble]:
    problems = [repository.fetch_problem for repository in repositories if repository.project_id == project.id]
    return [Trouble(project=project, text=f"Fetching failed: {problem}") for problem in problems if problem]


def _refusals(project: Project, refused: tuple[int, str] | None) -> list[Trouble]:
    """Report deliveries rejected in the last day since the last accepted one.

    Older ones are not reported, since anyone can cause rejected deliveries.
    """
    if refused is None:
        return []
    count, newest = refused
    many = "1 delivery was rejected" if count == 1 else f"{count} deliveries were rejected"
    return [Trouble(project=project, text=f"{many} since the last accepted one: {newest}")]
