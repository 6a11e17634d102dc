"""Find a commit of a project by its name, a prefix of its name, or a branch."""

from __future__ import annotations

import re

from core.errors import NotFound
from core.model import Commit, Project
from web.store import commits, projects, pushes
from web.store.db import Database

PREFIX = re.compile(r"[0-9a-f]{4,63}")


def find_commit(db: Database, project: Project, name: str) -> Commit:
    """Return the commit with this name, with this unique prefix of its name, or at the tip of this branch.

    Raises NotFound, which says what to do.
    """
    if found := commits.find_by_identifier(db, project.id, name):
        return found
    if (
        PREFIX.fullmatch(name.lower())
        and len(known := commits.list_identifiers_with_prefix(db, project.id, name.lower())) == 1
    ):
        return commits.get_by_identifier(db, project.id, known[0])
    for repository in projects.list_repositories(db, project.id):
        after = pushes.map_commits_by_ref(db, repository.id).get(f"refs/heads/{name.removeprefix('refs/heads/')}")
        if after and (found := commits.find_by_identifier(db, project.id, after)):
            return found
    raise NotFound(f"there is no commit {name[:80]!r} in project {project.name}: push it first, or name a branch")
