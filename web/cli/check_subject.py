"""What `pushmill project check` looks at, and findings from errors."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from core.config import Config
from core.errors import ForgeError, PushmillError
from core.model import Project, Repository
from web.cli.doctor import Finding
from web.services.repositories import hosting
from web.services.vault import Vault
from web.store import projects
from web.store.db import Database


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The project that is looked at, and until when (time.monotonic) its forge may take to answer."""

    db: Database
    config: Config
    key: Vault
    project: Project
    repository: Repository
    deadline: float

    @property
    def left(self) -> float:
        """The seconds that are left."""
        return max(0.0, self.deadline - time.monotonic())

    @property
    def hosted(self) -> bool:
        return self.repository.forge == projects.HOSTED

    @property
    def path(self) -> Path:
        return hosting.repository_path(self.config, self.repository)

    @property
    def is_on_forge(self) -> bool:
        """Whether webhooks tell of its pushes, not a hook of ours."""
        return self.repository.forge not in (projects.HOSTED, "plain")


def from_error(name: str, error: PushmillError) -> Finding:
    if isinstance(error, ForgeError):
        return Finding(check=name, level="fail", message=error.problem, advice=error.advice)
    return Finding(check=name, level="fail", message=str(error))
