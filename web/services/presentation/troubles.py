"""Problems that keep pushes of a project from running: pending approvals, failed fetches, rejected deliveries."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from core import clock
from core.model import Project
from web.store import approvals, deliveries, projects
from web.store.db import Database

RECENT_S = 24 * 3600.0


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """A problem. If `is_approval`, a commit needs approval; otherwise the page of deliveries has details."""

    project: Project
    text: str
    is_approval: bool = False


def of_project(db: Database, project: Project) -> list[Trouble]:
    return [*_approvals(db, project), *_fetches(db, project), *_refusals(db, project)]


def _approvals(db: Database, project: Project) -> list[Trouble]:
    count = approvals.count(db, project.id)
    text = "1 commit of a fork waits for approval" if count == 1 else f"{count} commits of forks wait for approval"
    return [Trouble(project=project, text=text, is_approval=True)] if count else []


def _fetches(db: Database, project: Project) -> list[Trouble]:
    problems = [repository.fetch_problem for repository in projects.repositories(db, project.id)]
    return [Trouble(project=project, text=f"Cannot be fetched: {problem}") for problem in problems if problem]


def _refusals(db: Database, project: Project) -> list[Trouble]:
    """Report deliveries rejected in the last day since the last accepted one.

    Older ones are not reported, since anyone can cause rejected deliveries.
    """
    since = clock.text(datetime.now(UTC) - timedelta(seconds=RECENT_S))
    count, newest = deliveries.refused_since_accepted(db, project.id, since)
    if not count:
        return []
    many = "1 delivery was refused" if count == 1 else f"{count} deliveries were refused"
    return [Trouble(project=project, text=f"{many} since the last one that was accepted: {newest}")]
