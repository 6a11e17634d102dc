"""Serve a project's Git LFS objects to runners and clients."""

from __future__ import annotations

from flask import Response, send_file

from core.errors import GitError, NotFound
from core.git import lfs
from core.model import Project
from web.services.context import Context
from web.services.repositories import hosting
from web.store import projects


def send(context: Context, project: Project, oid: str) -> Response:
    """Return an object of one of the project's repositories, or the requested ranges of it. Raises NotFound."""
    for repository in projects.list_repositories(context.db, project.id):
        try:
            path = lfs.get_object_path(hosting.get_lfs_path(context.config, repository), oid)
        except GitError as error:
            raise NotFound(str(error)) from None
        if path.is_file():
            response = send_file(path, "application/octet-stream", conditional=True, etag=oid)
            response.headers["X-Content-Type-Options"] = "nosniff"
            response.headers["Content-Security-Policy"] = "sandbox; default-src 'none'"
            return response
    raise NotFound(f"project {project.name} has no Git LFS object {oid}")
