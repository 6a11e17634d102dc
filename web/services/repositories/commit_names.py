"""Find a commit of a project by its name, a prefix of its name, or a branch."""

from __future__ import annotations

import re

from core.errors import NotFound
from core.model import Commit, Project
from web.store import commits, projects, pushes
from web.store.db import Database

PREFIX = re.compile(r"[0-9a-f]{4,63}")


def find_commit(db: Database, project: Project, name: str) -> Commit:
    """Return the commit with that name, or with that unique beginning, or to which the last push moved that branch.

    Raises NotFound with the way out.
    """
    if found := commits.find_by_identifier(db, project.id, name):
        return found
    if PREFIX.fullmatch(name.lower()) and len(known := commits.by_prefix(db, project.id, name.lower())) == 1:
        return commits.by_identifier(db, project.id, known[0])
    for repository in projects.repositories(db, project.id):
        after = pushes.last_pushes(db, repository.id).get(f"refs/heads/{name.removeprefix('refs/heads/')}")
        if after and (found := commits.find_by_identifier(db, project.id, after)):
            return found
    raise NotFound(f"there is no commit {name[:80]!r} in project {project.name}: push it first, or name a branch")
