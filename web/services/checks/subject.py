"""The project to check, and the conversion of errors to findings."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from core.errors import ForgeError, PushmillError
from core.model import Project, Repository
from web.services.checks.finding import Finding
from web.services.context import Context
from web.services.repositories import hosting
from web.store import projects

TIME_LIMIT_S = 20.0  # time for all calls to the forge


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The project to check, and the deadline (time.monotonic) for answers of its forge."""

    context: Context
    project: Project
    repository: Repository
    deadline: float

    @property
    def left(self) -> float:
        """The seconds left until the deadline."""
        return max(0.0, self.deadline - time.monotonic())

    @property
    def hosted(self) -> bool:
        return self.repository.forge == projects.HOSTED

    @property
    def path(self) -> Path:
        return hosting.get_repository_path(self.context.config, self.repository)

    @property
    def is_on_forge(self) -> bool:
        """Whether webhooks of a forge report its pushes, not our post-receive hook."""
        return self.repository.forge not in (projects.HOSTED, "plain")


def make_finding(name: str, error: PushmillError) -> Finding:
    if isinstance(error, ForgeError):
        return Finding(check=name, level="fail", message=error.problem, advice=error.advice)
    return Finding(check=name, level="fail", message=str(error))
