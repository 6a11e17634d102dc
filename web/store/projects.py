"""Projects and their repositories."""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection, Sequence

from sqlite_utils import Database

from core import clock
from core.config import LimitsConfig
from core.errors import NotFound
from core.model import Project, Repository
from core.names import check_project
from core.rights import Role
from web.store import audit, members
from web.store.audit import Act, Kind
from web.store.db import Row, execute, fetch_row, fetch_rows, insert, joined

SELECT = "SELECT project.*, user.username AS owner FROM project JOIN user ON user.id = project.owner_id"
HOSTED = "hosted"  # the forge of repositories hosted on this server


def add(db: Database, name: str, owner_id: int, description: str = "", limits: LimitsConfig | None = None) -> Project:
    """Create a project with a private badge; `owner_id` becomes an owner. The caller checks that the name is free.

    Raises InvalidInput.
    """
    values = {"uuid": str(uuid.uuid4()), "name": check_project(name), "owner_id": owner_id, "badge_public": 0}
    if limits is not None:
        values |= {"max_executions": limits.max_executions, "environments": json.dumps(limits.environments)}
    if limits is not None and limits.environments:
        values |= {"environment": limits.environments[0]}
    project_id = insert(db, "project", values | {"description": description, "created_at": clock.now()})
    members.set_role(db, project_id, owner_id, Role.OWNER)
    return get_by_name(db, name)


def add_repository(
    db: Database, project_id: int, *, forge: str, url: str | None, secret: bytes, full_name: str = ""
) -> Repository:
    """Create a repository of a project; `secret` is the encrypted webhook secret."""
    values = {"project_id": project_id, "forge": forge, "url": url, "secret": secret, "full_name": full_name}
    repository_id = insert(db, "repository", values | {"created_at": clock.now()})
    return get_repository(db, repository_id)


def list_projects(db: Database, project_ids: Collection[int] | None = None) -> list[Project]:
    """List projects by name: all of them, or these."""
    found = map(_project, fetch_rows(db, f"{SELECT} ORDER BY project.name"))
    return [project for project in found if project_ids is None or project.id in project_ids]


def list_with_schedules(db: Database) -> list[Project]:
    """List projects whose rules contain the word "schedule"."""
    return [
        _project(found)
        for found in fetch_rows(db, f"{SELECT} WHERE project.rules LIKE '%schedule%' ORDER BY project.id")
    ]


def get(db: Database, project_id: int) -> Project:
    return _project(fetch_row(db, f"{SELECT} WHERE project.id = ?", (project_id,)), project_id)


def get_by_uuid(db: Database, project_uuid: str) -> Project:
    return _project(fetch_row(db, f"{SELECT} WHERE project.uuid = ?", (project_uuid,)), project_uuid)


def get_by_name(db: Database, name: str) -> Project:
    return _project(fetch_row(db, f"{SELECT} WHERE project.name = ?", (name,)), name)


def get_repository(db: Database, repository_id: int) -> Repository:
    found = fetch_row(db, "SELECT * FROM repository WHERE id = ?", (repository_id,))
    if found is None:
        raise NotFound(f"there is no repository {repository_id}")
    return _repository(found)


def list_repositories(db: Database, *project_ids: int) -> list[Repository]:
    """List the repositories of projects, oldest first."""
    sql = f"SELECT * FROM repository WHERE project_id IN ({', '.join('?' * len(project_ids))}) ORDER BY id"
    return [_repository(found) for found in fetch_rows(db, sql, project_ids)]


def list_all_repositories(db: Database) -> list[Repository]:
    return [_repository(found) for found in fetch_rows(db, "SELECT * FROM repository ORDER BY id")]


def is_hosted(db: Database, project_id: int) -> bool:
    """Return whether a project has a repository on this server, to which users push."""
    return any(repository.forge == HOSTED for repository in list_repositories(db, project_id))


def list_repositories_for_forge(db: Database, forge: str) -> list[Repository]:
    return [
        _repository(found) for found in fetch_rows(db, "SELECT * FROM repository WHERE forge = ? ORDER BY id", (forge,))
    ]


def find_webhook_target(db: Database, project_name: str, forge: str) -> tuple[Repository, bytes] | None:
    """Return the repository that a project's webhooks from `forge` concern, and its encrypted secret.

    Always one query, whether the project exists or not. `plain`, our own hook, also matches repositories hosted here.
    """
    sql = (
        "SELECT repository.* FROM repository JOIN project ON project.id = project_id"
        " WHERE project.name = ? AND forge IN (?, ?) ORDER BY repository.id LIMIT 1"
    )
    found = fetch_row(db, sql, (project_name, forge, HOSTED if forge == "plain" else forge))
    return (_repository(found), bytes(found["secret"])) if found else None


def get_secret(db: Database, repository_id: int) -> bytes:
    """Return the encrypted webhook secret of a repository."""
    found = fetch_row(db, "SELECT secret FROM repository WHERE id = ?", (repository_id,))
    return bytes(found["secret"]) if found else b""


def set_secret(db: Database, repository_id: int, secret: bytes) -> None:
    """Replace the encrypted webhook secret."""
    execute(db, "UPDATE repository SET secret = ? WHERE id = ?", (secret, repository_id))


def find_ssh_key(db: Database, repository_id: int) -> bytes | None:
    """Return the encrypted private deploy key of a repository, if it has one."""
    found = fetch_row(db, "SELECT ssh_key FROM repository WHERE id = ?", (repository_id,))
    return bytes(found["ssh_key"]) if found and found["ssh_key"] is not None else None


def set_ssh_key(db: Database, repository_id: int, deploy_key: str, ssh_key: bytes) -> None:
    """Replace the key pair: the public key in plain text, the private key encrypted."""
    sql = "UPDATE repository SET deploy_key = ?, ssh_key = ? WHERE id = ?"
    execute(db, sql, (deploy_key, ssh_key, repository_id))


def find_git_login(db: Database, repository_id: int) -> bytes | None:
    """Return the encrypted user and password that were part of a repository's URL, if any."""
    found = fetch_row(db, "SELECT git_login FROM repository WHERE id = ?", (repository_id,))
    return bytes(found["git_login"]) if found and found["git_login"] is not None else None


def set_git_login(db: Database, repository_id: int, login: bytes | None) -> None:
    """Replace the encrypted user and password, or remove them."""
    execute(db, "UPDATE repository SET git_login = ? WHERE id = ?", (login, repository_id))


def list_urls_with_login(db: Database) -> list[tuple[int, str]]:
    """List (id, URL) of repositories whose URL may contain a user and password, which older versions stored there."""
    found = fetch_rows(db, "SELECT id, url FROM repository WHERE url LIKE 'http%://%@%' ORDER BY id")
    return [(item["id"], item["url"]) for item in found]


def redact(db: Database, repository_id: int, secret: str) -> None:
    """Remove a secret from all recorded messages about fetching a repository."""
    for table, column, key in (("repository", "fetch_problem", "id"), ("delivery", "message", "repository_id")):
        sql = f"UPDATE {table} SET {column} = replace({column}, ?, '…') WHERE {key} = ? AND instr({column}, ?) > 0"
        execute(db, sql, (secret, repository_id, secret))


def set_url(db: Database, repository_id: int, url: str) -> None:
    execute(db, "UPDATE repository SET url = ? WHERE id = ?", (url, repository_id))


def set_status_context(db: Database, repository_id: int, context: str) -> None:
    """Set the name of the commit's overall status on the forge; the statuses of targets have names below it."""
    execute(db, "UPDATE repository SET status_context = ? WHERE id = ?", (context, repository_id))


def relocate(db: Database, repository_id: int, url: str, forge: str) -> None:
    """Set a new URL and forge of a repository; clears data learned from the old one, and polls its refs again."""
    sql = (
        "UPDATE repository SET url = ?, forge = ?, full_name = '', polled_at = NULL, fetch_retry_at = NULL,"
        " fetch_problem = '' WHERE id = ?"
    )
    execute(db, sql, (url, forge, repository_id))


def list_remote_repositories(db: Database) -> list[Repository]:
    sql = "SELECT * FROM repository WHERE forge != ? AND url IS NOT NULL ORDER BY id"
    return [_repository(found) for found in fetch_rows(db, sql, (HOSTED,))]


def set_polled(db: Database, repository_id: int) -> None:
    """Record that the remote answered a poll; this does not clear the problem of a failed fetch."""
    problem = "CASE WHEN fetch_retry_at IS NULL THEN '' ELSE fetch_problem END"
    sql = f"UPDATE repository SET polled_at = ?, fetch_problem = {problem} WHERE id = ?"
    execute(db, sql, (clock.now(), repository_id))


def set_fetched(db: Database, repository_id: int) -> None:
    """Record a successful fetch."""
    sql = (
        "UPDATE repository SET fetch_retry_at = NULL, fetch_problem = ''"
        " WHERE id = ? AND (fetch_retry_at IS NOT NULL OR fetch_problem != '')"
    )
    execute(db, sql, (repository_id,))


def set_fetch_problem(db: Database, repository_id: int, problem: str, retry_at: str | None = None) -> None:
    """Record a failed fetch or poll; with `retry_at`, nothing is fetched before that time."""
    sql = "UPDATE repository SET fetch_problem = ?, fetch_retry_at = COALESCE(?, fetch_retry_at) WHERE id = ?"
    execute(db, sql, (problem[:2000], retry_at, repository_id))


def learn_full_name(db: Database, repository_id: int, full_name: str) -> str:
    """Set the full name of a repository if it has none; return its full name."""
    execute(db, "UPDATE repository SET full_name = ? WHERE id = ? AND full_name = ''", (full_name, repository_id))
    return get_repository(db, repository_id).full_name


def set_default_branch(db: Database, repository_id: int, branch: str) -> None:
    execute(db, "UPDATE repository SET default_branch = ? WHERE id = ?", (branch, repository_id))


def set_run_defaults(db: Database, project_id: int, environment: str, max_executions: int) -> None:
    sql = "UPDATE project SET environment = ?, max_executions = ? WHERE id = ?"
    execute(db, sql, (environment, max_executions, project_id))


def set_environments(db: Database, project_id: int, slugs: Sequence[str]) -> None:
    execute(db, "UPDATE project SET environments = ? WHERE id = ?", (json.dumps(list(slugs)), project_id))


def set_badge_public(db: Database, project_id: int, public: bool) -> None:
    execute(db, "UPDATE project SET badge_public = ? WHERE id = ?", (int(public), project_id))


def set_rules(db: Database, project_id: int, rules: str) -> None:
    """Replace the rules. Schedules start again from now: earlier due times are not made up."""
    sql = "UPDATE project SET rules = ?, rules_changed_at = ? WHERE id = ? AND rules != ?"
    with joined(db):
        if execute(db, sql, (rules, clock.now(), project_id, rules)):
            audit.record(db, Act.CHANGE, Kind.RULES, "rules", project_id)


def take_counter(db: Database, project_id: int, of: str = "execution") -> int:
    """Return the next counter of an execution, task or pipeline of a project."""
    counter = f"{of}_counter"
    found = fetch_row(
        db, f"UPDATE project SET {counter} = {counter} + 1 WHERE id = ? RETURNING {counter}", (project_id,)
    )
    return int(found[counter]) if found else 0


def _project(found: Row | None, asked: object = "") -> Project:
    if found is None:
        raise NotFound(f"there is no project {asked!r}")
    values = {name: found[name] for name in Project.__dataclass_fields__}
    values |= {name: bool(found[name]) for name in ("badge_public", "comments")}
    return Project(**values | {"environments": tuple(json.loads(found["environments"]))})


def _repository(found: Row) -> Repository:
    found = found | {"has_token": found["api_token"] is not None, "has_login": found["git_login"] is not None}
    return Repository(**{name: found[name] for name in Repository.__dataclass_fields__})
