"""Limits on how many executions of a project or an environment are queued or started at once."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from core.states import State
from web.store import environments, executions, projects
from web.store.db import Database


@dataclass
class Quota:
    """Limits (0 is unlimited) and usage, by project id and by environment slug."""

    projects: dict[int, int]
    environments: dict[str, int]
    of_project: Counter[int] = field(default_factory=Counter)
    of_environment: Counter[str] = field(default_factory=Counter)
    queued: Counter[int | str] = field(default_factory=Counter)

    def limit_reason(self, project_id: int, environment: str) -> str:
        """Return a sentence on the limit that another execution would exceed, or "" if there is none."""
        limit, taken = self.projects.get(project_id, 0), self.of_project[project_id]
        if limit and taken >= limit:
            return f"{taken} of {limit} executions of this project are {self._doing(project_id)}"
        limit, taken = self.environments.get(environment, 0), self.of_environment[environment]
        if limit and taken >= limit:
            return f"{taken} of {limit} executions in environment {environment} are {self._doing(environment)}"
        return ""

    def take(self, project_id: int, environment: str, state: State, count: int = 1) -> None:
        self.of_project[project_id] += count
        self.of_environment[environment] += count
        if state is State.QUEUED:
            self.queued[project_id] += count
            self.queued[environment] += count

    def _doing(self, whose: int | str) -> str:
        return "queued or running" if self.queued[whose] else "running"


def load_quota(db: Database) -> Quota:
    """Return the current limits and usage. Inside a transaction they stay valid until its end."""
    quota = Quota(
        {project.id: project.max_executions for project in projects.list_projects(db)},
        {environment.slug: environment.max_executions for environment in environments.list_environments(db)},
    )
    for project_id, environment, state, count in executions.count_occupying(db):
        quota.take(project_id, environment, state, count)
    return quota
