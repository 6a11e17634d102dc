"""Which environment an execution gets, and what that one allows."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from sqlite_utils import Database

from core.errors import NotFound
from core.model import Environment, Project
from web.store import environments

DEFAULT = "default"  # there always is one of this name
WRITABLE = ":rw"


def choose(db: Database, project: Project, wanted: str | None) -> tuple[Environment, str]:
    """The environment that a step wants, by name or uuid, else the project's default with a sentence that says so."""
    known = environments.by_name(db)
    by_uuid = {found.uuid: found for found in known.values()}
    fallback = known.get(project.environment) or known[DEFAULT]
    if not wanted:
        return fallback, ""
    chosen = known.get(wanted) or by_uuid.get(wanted)
    if chosen is not None:
        return chosen, ""
    return fallback, f"There is no environment {wanted[:80]!r} here: it runs in {fallback.slug}"


def by_slug_or_open(db: Database, slug: str) -> tuple[str, str]:
    """Network policy and pull policy; those of an environment that was removed meanwhile are the usual ones."""
    try:
        found = environments.by_slug(db, slug)
    except NotFound:
        return "open", "missing"
    return found.network, found.pull


def refusal(environment: Environment, image: str) -> str:
    """Why an image may not run there; empty when it may."""
    if not environment.images or any(fnmatchcase(image, pattern) for pattern in environment.images):
        return ""
    allowed = ", ".join(environment.images)
    return f"Environment {environment.slug} runs images that match {allowed}; the step's is {image}"


def mounts(environment: Environment, wanted: Iterable[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], list[str]]:
    """Of the mounts that a step wants those that the environment allows, and a sentence for each other."""
    allowed, notes = [], []
    for mount in wanted:
        source = posixpath.normpath(str(mount["source"]))
        rule = _rule(environment.mounts, source)
        if rule is None:
            notes.append(f"The mount of {source} is left out: environment {environment.slug} does not allow it")
            continue
        readonly = bool(mount.get("readonly")) or not rule.endswith(WRITABLE)
        allowed.append({"source": source, "destination": str(mount["destination"]), "readonly": readonly})
    return allowed, notes


def _rule(rules: Iterable[str], source: str) -> str | None:
    """The rule of the nearest directory at or above `source`."""
    found = [rule for rule in rules if _covers(rule.removesuffix(WRITABLE), source)]
    return max(found, key=lambda rule: len(rule.removesuffix(WRITABLE)), default=None)


def _covers(directory: str, source: str) -> bool:
    return source == directory or source.startswith(f"{directory.rstrip('/')}/")
