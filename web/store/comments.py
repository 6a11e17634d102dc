"""Our comments on pull requests, and the runs of the base branch with which they compare."""

from __future__ import annotations

from dataclasses import dataclass

from sqlite_utils import Database

from core.model import Target, TargetKind
from core.states import State
from web.store.db import execute, fetch_row, fetch_rows

OF = {
    TargetKind.STEP: ("execution", "execution.step = ? AND execution.task_id IS NULL"),
    TargetKind.TASK: ("task", "task.name = ? AND task.pipeline_node_id IS NULL"),
    TargetKind.PIPELINE: ("pipeline", "pipeline.name = ?"),
}


@dataclass(frozen=True, kw_only=True)
class Commented:
    """A pull request with the forge's id of our comment, "" if there is none, and the digest of the comment's text."""

    id: int
    number: int
    sha: str
    base_branch: str
    comment_id: str
    comment_sha256: str


def find_commented(db: Database, repository_id: int, number: int) -> Commented | None:
    """Return an open pull request of a project with comments enabled, else None."""
    sql = (
        "SELECT pull_request.* FROM pull_request JOIN repository ON repository.id = repository_id"
        " JOIN project ON project.id = project_id"
        " WHERE repository_id = ? AND number = ? AND NOT closed AND project.comments"
    )
    found = fetch_row(db, sql, (repository_id, number))
    return Commented(**{name: found[name] for name in Commented.__dataclass_fields__}) if found else None


def list_pull_request_numbers(db: Database, repository_id: int, sha: str) -> list[int]:
    """List the numbers of open pull requests with this head commit, in a project with comments enabled."""
    sql = (
        "SELECT number FROM pull_request JOIN repository ON repository.id = repository_id"
        " JOIN project ON project.id = project_id"
        " WHERE repository_id = ? AND sha = ? AND NOT closed AND project.comments"
    )
    return [int(found["number"]) for found in fetch_rows(db, sql, (repository_id, sha))]


def find_base_commit(db: Database, repository_id: int, branch: str) -> int | None:
    """Return the commit of the last recorded push to a branch."""
    sql = (
        "SELECT commit_id FROM push WHERE repository_id = ? AND ref = ? AND kind = 'push' AND NOT late AND again_of IS NULL"
        " AND commit_id IS NOT NULL ORDER BY id DESC LIMIT 1"
    )
    found = fetch_row(db, sql, (repository_id, f"refs/heads/{branch}"))
    return int(found["commit_id"]) if found else None


def record(db: Database, pull_request_id: int, comment_id: str, sha256: str) -> None:
    """Record the forge's id of the comment and the digest of its text; "" if the comment no longer exists."""
    sql = "UPDATE pull_request SET comment_id = ?, comment_sha256 = ? WHERE id = ?"
    execute(db, sql, (comment_id, sha256, pull_request_id))


def set_wanted(db: Database, project_id: int, wanted: bool) -> None:
    execute(db, "UPDATE project SET comments = ? WHERE id = ?", (int(wanted), project_id))


def find_newest_complete(db: Database, repository_id: int, branch: str, target: Target) -> int | None:
    """Return the row id of the newest completed execution, task or pipeline that a push to the branch launched.

    Executions of pipeline nodes count, trials of a task do not: their results need not be good.
    """
    table, condition = OF[target.kind]
    sql = (
        f"SELECT {table}.id FROM push CROSS JOIN {table} ON {table}.push_id = push.id"
        f" WHERE push.repository_id = ? AND push.ref = ? AND push.kind = 'push' AND {condition}"
        f" AND {table}.state = '{State.COMPLETE}' ORDER BY COALESCE(push.again_of, push.id) DESC, {table}.id DESC LIMIT 1"
    )
    found = fetch_row(db, sql, (repository_id, f"refs/heads/{branch}", target.name))
    return int(found["id"]) if found else None
