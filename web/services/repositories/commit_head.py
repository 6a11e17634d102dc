"""Pin the commit that an event points to and read it, with its configuration, from the object store.

A configuration is parsed once for each content of valohai.yaml and version of the parser, however many commits have it.

`git_commit.config_key` names the content of the file, the version of the parser (a hash of the parser's code and the
versions of its libraries) and the limit on items. A commit with the same key gets a copy of the configuration.

A push has a budget of seconds for all its commits (`ReadBudget`). A commit past it is recorded as unread, and read when
it is pushed again.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from core import git
from core.config import LimitsConfig
from core.errors import GitError, InvalidYaml, UnreadYaml
from core.model import Project
from web.config.steps.parse import YAML_BYTES
from web.config.steps.parse_in_child import SECONDS, parse_limited
from web.config.steps.version import compute_parser_version
from web.store import commits, deliveries
from web.store.commits import ReadConfiguration
from web.store.db import Database
from web.store.deliveries import Delivery

MISSING_ATTEMPTS = 5  # forges may announce a commit seconds before serving it; a missing one was force-pushed away


class CommitMissing(GitError):
    """Raised if an event names a commit that the repository does not have, or does not have yet."""


def may_arrive(delivery: Delivery) -> bool:
    """Return whether a commit that a delivery names, and that is missing, is waited for. An early attempt never ends it."""
    return delivery.attempts < MISSING_ATTEMPTS or not deliveries.is_due(delivery)


class HeadRefused(GitError):
    """Raised if the head of a fork's pull request exceeds the limits of size or time for fetching from forks."""


@dataclass(frozen=True, kw_only=True)
class Head(ReadConfiguration):
    """A commit with its configuration."""

    info: git.CommitInfo


@dataclass
class ReadBudget:
    """Limits on parsing the configurations of one push; `spent_s` seconds of their common time are used."""

    limits: LimitsConfig
    spent_s: float = 0.0

    def parse(self, data: bytes) -> tuple[Any, tuple[str, ...]]:
        """Return the configuration and its warnings. Raises InvalidYaml, and UnreadYaml once the time is used up."""
        left_s = self.limits.config_time - self.spent_s
        if left_s <= 0:
            raise UnreadYaml(
                [
                    "valohai.yaml was not read: those of the other commits of this push took"
                    f" {self.limits.config_time:g} s together ([limits] config_time)."
                    " Run the delivery again, or push this commit by itself."
                ]
            )
        started = time.monotonic()
        try:
            found = parse_limited(data, items=self.limits.config_items, seconds=min(SECONDS, left_s))
        finally:
            self.spent_s += time.monotonic() - started
        return found.config, found.problems


def read_head(db: Database, project: Project, path: Path, name: str, budget: ReadBudget, *, pin: bool = True) -> Head:
    """Read the commit that `name` resolves to in the repository at `path`, and pin it. Raises CommitMissing."""
    info = git.find_commit(path, name, pin=pin)
    if info is None:
        raise CommitMissing("the repository has no such commit")
    known = commits.find_by_identifier(db, project.id, info.sha)
    if known is not None and known.yaml_path == project.yaml_path and known.config_key != commits.UNREAD:
        return Head(info=info, **{field.name: getattr(known, field.name) for field in fields(ReadConfiguration)})
    try:
        data = git.read_file(path, info.sha, project.yaml_path, YAML_BYTES)
    except GitError as error:
        return Head(info=info, config_state="broken", config=None, problems=(str(error),), config_key=None)
    if data is None:
        missing = f"the commit has no {project.yaml_path}: nothing can run"
        return Head(info=info, config_state="missing", config=None, problems=(missing,), config_key=None)
    return Head(info=info, **vars(read_content(db, data, budget)))


def read_content(db: Database, data: bytes, budget: ReadBudget) -> ReadConfiguration:
    """Return the configuration of this content of valohai.yaml, copied from a commit with the same content."""
    key = f"{hashlib.sha256(data).hexdigest()} {compute_parser_version()} {budget.limits.config_items}"
    if same := commits.find_configuration(db, key):
        return same
    try:
        config, problems = budget.parse(data)
    except InvalidYaml as error:
        key = commits.UNREAD if isinstance(error, UnreadYaml) else key
        return ReadConfiguration(config_state="broken", config=None, problems=tuple(error.problems), config_key=key)
    return ReadConfiguration(config_state="ok", config=config, problems=problems, config_key=key)
