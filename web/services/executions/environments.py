"""Choose the environment of an execution, check what it allows, and change environments.

GPUs, memory, processors and mounts of an environment are written into the execution when it is created, so that a
later change does not affect it. Network and pull policy are read at the claim.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from core.config import parse_size
from core.errors import ConfigError, InvalidInput, NotFound
from core.model import Environment, Project
from core.units import format_size
from web.store import audit, environments, executions, projects, runners
from web.store.audit import Act, Kind
from web.store.db import Database, transaction

DEFAULT = "default"  # an environment of this name always exists
WRITABLE = ":rw"
CHOICES = {"pull": ("missing", "always"), "network": ("open", "none")}
NUMBERS: dict[str, type[int] | type[float]] = {"gpus": int, "cpus": float, "max_executions": int}
MOST = 10_000
ENTRY_CHARACTERS = 300


def map_by_name(db: Database) -> dict[str, Environment]:
    """Return all environments by each of their names: by UUID and by slug."""
    listed = environments.list_environments(db)
    return {found.uuid: found for found in listed} | {found.slug: found for found in listed}


def choose(known: Mapping[str, Environment], project: Project, wanted: str | None) -> tuple[Environment, str]:
    """Return the environment that a step names, by slug or UUID.

    If it is unknown, return the project's default and a sentence for the log.
    """
    fallback = known.get(project.environment) or known[DEFAULT]
    if not wanted or wanted in known:
        return (known[wanted] if wanted else fallback), ""
    return fallback, f"There is no environment {wanted[:80]!r} here: the execution runs in {fallback.slug}"


def explain_project_refusal(project: Project, environment: Environment) -> str:
    """Return why a project may not use an environment, or "" if it may."""
    if not project.environments or environment.slug in project.environments:
        return ""
    allowed = ", ".join(project.environments)
    return f"Project {project.name} may not use environment {environment.slug}; it may use {allowed}"


def allow(db: Database, project: Project, slugs: Sequence[str]) -> None:
    """Limit a project to these environments; no slugs lift the limit. Raises InvalidInput, NotFound."""
    wanted = list(dict.fromkeys(environments.get_by_slug(db, slug).slug for slug in slugs))
    with transaction(db):
        now = projects.get(db, project.id)
        if wanted and now.environment not in wanted:
            raise InvalidInput(
                f"the default environment of project {now.name} is {now.environment}: allow it too, or change it first"
            )
        projects.set_environments(db, now.id, wanted)
        detail = f"environments: {', '.join(wanted) or 'all'}"
        audit.record(db, Act.CHANGE, Kind.SETTINGS, project.name, project.id, detail)


def set_run_defaults(db: Database, project: Project, slug: str, max_executions: int) -> None:
    """Set a project's default environment and its quota. Raises InvalidInput, NotFound."""
    environment = environments.get_by_slug(db, slug)
    with transaction(db):
        if why := explain_project_refusal(projects.get(db, project.id), environment):
            raise InvalidInput(why)
        projects.set_run_defaults(db, project.id, environment.slug, max_executions)
        detail = f"environment {environment.slug}, at most {max_executions or 'any number of'} executions"
        audit.record(db, Act.CHANGE, Kind.SETTINGS, project.name, project.id, detail)


def get_policies(db: Database, slug: str) -> tuple[str, str]:
    """Return the network and pull policies of an environment; the defaults if it was removed in the meantime."""
    try:
        found = environments.get_by_slug(db, slug)
    except NotFound:
        return "open", "missing"
    return found.network, found.pull


def list_differences(environment: Environment) -> list[str]:
    """List the settings of an environment that differ from the defaults, each as a short phrase."""
    memory = format_size(environment.memory)
    phrases = (
        (environment.gpus, "1 GPU" if environment.gpus == 1 else f"{environment.gpus} GPUs"),
        (environment.memory, f"{memory} of memory"),
        (environment.cpus, f"{environment.cpus:g} processors"),
        (environment.images, f"images {', '.join(environment.images)}"),
        (environment.pull == "always", "always pulls"),
        (environment.network == "none", "no network"),
        (environment.mounts, f"mounts {', '.join(environment.mounts)}"),
        (environment.max_executions, f"{environment.max_executions} at once"),
        (environment.autorestart, "restarts lost executions"),
    )
    return [phrase for there, phrase in phrases if there]


def change(db: Database, slug: str, given: Mapping[str, Any]) -> Environment:
    """Set the given columns of an environment, creating it if necessary. Raises InvalidInput.

    Values may be text, as entered by a user.
    """
    columns = {name: parse_column(name, value) for name, value in given.items()}
    with transaction(db):
        found = environments.ensure(db, slug)
        if columns:
            environments.change(db, found.id, **columns)
        audit.record(db, Act.CHANGE, Kind.ENVIRONMENT, slug, detail=", ".join(columns))
        return environments.get_by_slug(db, slug)


def remove(db: Database, slug: str) -> None:
    """Remove an environment. Raises InvalidInput while a runner, a project or an unfinished execution uses it."""
    with transaction(db):
        found = environments.get_by_slug(db, slug)
        if slug == DEFAULT:
            raise InvalidInput(f"{DEFAULT} is the fallback of all executions and cannot be removed")
        serving = [runner.name for runner in runners.list_runners(db) if slug in runner.environments]
        if serving:
            raise InvalidInput(f"{slug} is served by {', '.join(serving)}: register them for other environments first")
        if users := [project.name for project in projects.list_projects(db) if slug in project.environments]:
            raise InvalidInput(f"{slug} is one of the environments of {', '.join(users)}: change those projects first")
        if waiting := executions.count_unfinished_by_environment(db).get(slug, 0):
            raise InvalidInput(f"{waiting} executions of {slug} have not finished: stop them, or wait for them")
        environments.remove(db, found.id)
        audit.record(db, Act.REMOVE, Kind.ENVIRONMENT, slug)


def parse_column(name: str, value: Any) -> Any:
    """Return the value of a column of an environment. Raises InvalidInput."""
    if name in CHOICES and value not in CHOICES[name]:
        raise InvalidInput(f"{name} must be {' or '.join(CHOICES[name])}, got {value!r}"[:200])
    if name == "memory":
        try:
            return int(parse_size(value, name))
        except ConfigError as error:
            raise InvalidInput(str(error)) from None
    if name in NUMBERS:
        return _number(name, value)
    if name in ("images", "mounts"):
        return [_entry(name, item) for item in value]
    return value


def _number(name: str, value: Any) -> int | float:
    kind = NUMBERS[name]
    try:
        number = kind(value)
    except ValueError:
        number = kind(-1)
    if not 0 <= number <= MOST:
        raise InvalidInput(f"{name} must be a number, 0 or more, got {value!r}"[:200])
    return number


def _entry(name: str, item: str) -> str:
    directory = item.removesuffix(WRITABLE)
    if name == "mounts" and (posixpath.normpath(directory) != directory or not directory.startswith("/")):
        raise InvalidInput(f"a mount must be an absolute path without '..' or a slash at its end, got {item!r}"[:200])
    if name == "mounts" and directory == "/":
        raise InvalidInput("the whole disk of a runner cannot be mounted: name directories")
    if not item.isprintable() or len(item) > ENTRY_CHARACTERS:
        raise InvalidInput(f"{name}: {item!r} is too long or has control characters"[:200])
    return item


def explain_image_refusal(environment: Environment, image: str) -> str:
    """Return why an environment does not allow an image, or "" if it does."""
    if not environment.images or any(fnmatchcase(image, pattern) for pattern in environment.images):
        return ""
    allowed = ", ".join(environment.images)
    return f"Environment {environment.slug} runs images that match {allowed}; the step's is {image}"


def filter_mounts(
    environment: Environment, wanted: Iterable[Mapping[str, Any]]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the mounts of a step that the environment allows, and a sentence for each rejected one."""
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
    """Return the rule of the nearest directory at or above `source`."""
    found = [rule for rule in rules if _covers(rule.removesuffix(WRITABLE), source)]
    return max(found, key=lambda rule: len(rule.removesuffix(WRITABLE)), default=None)


def _covers(directory: str, source: str) -> bool:
    return source == directory or source.startswith(f"{directory.rstrip('/')}/")
