"""Commits with their configuration."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlite_utils import Database

from core import clock
from core.errors import NotFound
from core.model import Commit
from web.store.db import Row, execute, fetch_row, fetch_rows, needs_transaction
from web.store.selection import make_project_condition

UNREAD = "unread"  # `config_key` of a commit whose configuration must be read again
# all columns except the configuration, which can be large
COLUMNS = (
    "id, project_id, repository_id, identifier, ref, ref_names, message, author, committed_at, created_at,"
    " yaml_path, config_state, problems, git_sha"
)
# SQL condition for trusted commits: pushed by users of the repository, uploaded, or approved. A commit that only pull
# requests from forks contain is not trusted until it is approved.
PUSHED = (
    "SELECT 1 FROM push LEFT JOIN pull_request ON pull_request.id = push.pull_request_id"
    " WHERE push.commit_id = git_commit.id"
)
FROM_FORK = "(push.kind = 'pull_request' AND COALESCE(pull_request.from_fork, 1))"
APPROVED = (
    "SELECT 1 FROM approval JOIN repository ON repository.id = approval.repository_id"
    " WHERE approval.sha = git_commit.identifier AND repository.project_id = git_commit.project_id"
)
TRUSTED = f"(NOT EXISTS ({PUSHED} AND {FROM_FORK}) OR EXISTS ({PUSHED} AND NOT {FROM_FORK}) OR EXISTS ({APPROVED}))"


@dataclass(frozen=True, kw_only=True)
class ReadConfiguration:
    """The result of reading a configuration, with the fields of `Commit`. `config_state` is ok, missing or broken."""

    config_state: str
    config: Any
    problems: Sequence[str]
    config_key: str | None = None


@dataclass(frozen=True, kw_only=True)
class NewCommit(ReadConfiguration):
    """A commit to record. `ref` is short, such as main.

    `git_sha` is for ad-hoc code, whose identifier is not the name of its commit.
    """

    project_id: int
    repository_id: int
    identifier: str
    ref: str
    message: str
    author: str
    committed_at: str
    yaml_path: str
    git_sha: str | None = None


@needs_transaction
def upsert_commit(db: Database, new: NewCommit) -> Commit:
    """Record a commit. If it is known, add the ref to it, and store the configuration if it was marked UNREAD."""
    configuration = {
        "config_state": new.config_state, "config": json.dumps(new.config), "problems": json.dumps(list(new.problems)),
        "config_key": new.config_key, "yaml_path": new.yaml_path,
    }  # fmt: skip
    columns = {
        "project_id": new.project_id, "repository_id": new.repository_id, "identifier": new.identifier, "ref": new.ref,
        "ref_names": json.dumps([new.ref]), "message": new.message, "author": new.author,
        "committed_at": new.committed_at, "created_at": clock.now(), "git_sha": new.git_sha,
        **configuration,
    }  # fmt: skip
    sql = f"INSERT INTO git_commit ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
    if added := fetch_row(
        db, f"{sql} ON CONFLICT (project_id, identifier) DO NOTHING RETURNING *", list(columns.values())
    ):
        return _commit(added)
    known = get_by_identifier(db, new.project_id, new.identifier)
    changes = configuration if known.config_key == UNREAD else {}
    if new.ref not in known.ref_names:
        changes = changes | {"ref_names": json.dumps([*known.ref_names, new.ref])}
    if changes:
        assignments = ", ".join(f"{name} = ?" for name in changes)
        execute(db, f"UPDATE git_commit SET {assignments} WHERE id = ?", (*changes.values(), known.id))
        return get(db, known.id)
    return known


def get(db: Database, commit_id: int) -> Commit:
    return _commit(fetch_row(db, "SELECT * FROM git_commit WHERE id = ?", (commit_id,)), commit_id)


def get_by_identifier(db: Database, project_id: int, identifier: str) -> Commit:
    sql = "SELECT * FROM git_commit WHERE project_id = ? AND identifier = ?"
    return _commit(fetch_row(db, sql, (project_id, identifier)), identifier)


def find_by_identifier(db: Database, project_id: int, identifier: str) -> Commit | None:
    sql = "SELECT * FROM git_commit WHERE project_id = ? AND identifier = ?"
    found = fetch_row(db, sql, (project_id, identifier))
    return _commit(found) if found else None


def find_configuration(db: Database, key: str) -> ReadConfiguration | None:
    """Return what was read from the content identified by `key` for a commit of any project."""
    columns = "config_state, config, problems, config_key"
    found = fetch_row(db, f"SELECT {columns} FROM git_commit WHERE config_key = ? LIMIT 1", (key,))
    if found is None:
        return None
    parsed = {"config": json.loads(found["config"] or "null"), "problems": tuple(json.loads(found["problems"]))}
    return ReadConfiguration(**found | parsed)


def list_identifiers_with_prefix(db: Database, project_id: int, prefix: str) -> list[str]:
    """List the identifiers of commits that start with some hexadecimal digits, at most two."""
    sql = "SELECT identifier FROM git_commit WHERE project_id = ? AND identifier >= ? AND identifier < ? LIMIT 2"
    return [found["identifier"] for found in fetch_rows(db, sql, (project_id, prefix, f"{prefix}g"))]


def search(
    db: Database,
    projects: Collection[int] | None,
    *,
    adhoc: bool | None,
    limit: int,
    offset: int,
    trusted: bool = False,
) -> tuple[list[Commit], int]:
    """Return commits of these projects, or of all, and their number without the limit.

    The newest are first; they have no configuration. With `trusted`, only trusted commits.
    """
    condition, values = make_project_condition("project_id", projects)
    conditions = [condition]
    if trusted:
        conditions.append(TRUSTED)
    if adhoc is not None:
        conditions.append(f"identifier {'' if adhoc else 'NOT '}LIKE '~%'")
    where = f"WHERE {' AND '.join(conditions)}"
    count = fetch_row(db, f"SELECT COUNT(*) AS n FROM git_commit {where}", values)
    sql = f"SELECT {COLUMNS} FROM git_commit {where} ORDER BY committed_at DESC, id DESC LIMIT ? OFFSET ?"
    found = fetch_rows(db, sql, [*values, limit, offset])
    return [_commit(item) for item in found], int(count["n"]) if count else 0


def is_trusted(db: Database, commit_id: int) -> bool:
    """Return whether runs of a commit may get the project's secrets."""
    found = fetch_row(db, f"SELECT {TRUSTED} AS trusted FROM git_commit WHERE id = ?", (commit_id,))
    return bool(found and found["trusted"])


def get_many(db: Database, commit_ids: Collection[int]) -> dict[int, Commit]:
    """Return commits by id, without their configuration."""
    marks = ", ".join("?" * len(commit_ids))
    found = fetch_rows(db, f"SELECT {COLUMNS} FROM git_commit WHERE id IN ({marks})", list(commit_ids))
    return {item["id"]: _commit(item) for item in found}


def find_in_any_project(db: Database, identifier: str, project_ids: Collection[int] | None) -> Commit:
    """Return the most recently recorded commit with this identifier in these projects, or in any with None."""
    found = fetch_rows(db, "SELECT * FROM git_commit WHERE identifier = ? ORDER BY id DESC", (identifier,))
    return _commit(next((c for c in found if project_ids is None or c["project_id"] in project_ids), None), identifier)


@needs_transaction
def delete_unused_adhoc(db: Database, repository_id: int, before: str) -> None:
    """Delete ad-hoc commits of a repository that were uploaded before a time and that nothing was launched from."""
    used = " OR ".join(
        f"EXISTS (SELECT 1 FROM {table} WHERE {table}.commit_id = git_commit.id)"
        for table in ("execution", "task", "pipeline", "push")
    )
    sql = f"DELETE FROM git_commit WHERE repository_id = ? AND git_sha IS NOT NULL AND created_at < ? AND NOT ({used})"
    execute(db, sql, (repository_id, before))


def list_adhoc_identifiers(db: Database, repository_id: int) -> set[str]:
    sql = "SELECT identifier FROM git_commit WHERE repository_id = ? AND git_sha IS NOT NULL"
    return {found["identifier"] for found in fetch_rows(db, sql, (repository_id,))}


def _commit(found: Row | None, asked: object = "") -> Commit:
    if found is None:
        raise NotFound(f"there is no commit {asked}")
    parsed = {
        "ref_names": tuple(json.loads(found["ref_names"])),
        "problems": tuple(json.loads(found["problems"])),
        "config": json.loads(found["config"]) if found.get("config") else None,
    }
    return Commit(**found | parsed)
