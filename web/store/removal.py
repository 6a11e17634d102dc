"""Count and delete the data of a project, in small batches.

A test compares this module with the schema: a new table must be named here.
"""

from __future__ import annotations

from sqlite_utils import Database

from web.store.db import execute, fetch_row, fetch_rows, needs_transaction
from web.store.deliveries import STORED

METADATA = {"metadata": 20_000, "metadata_chunk": 200}  # rows of a table in one transaction
BODIES = 50  # bodies of deliveries, up to 25 MiB each
REPOSITORIES = "SELECT id FROM repository WHERE project_id = :project"
PIPELINES = "SELECT id FROM pipeline WHERE project_id = :project"
OF_EXECUTION = (*METADATA, "latest", "usage", "state_change", "datum")
OF_REPOSITORY = ("approval", "commit_status", "outbox", "pull_request", "source", "push", "delivery", "git_commit")
OF_PROJECT = (
    "datum_alias",
    "datum",
    "variable",
    "launch_key",
    "saved_view",
    "member",
    "member_source",
    "task",
    "pipeline",
    "repository",
)
KEPT = (
    "user",
    "token",
    "session",
    "invitation",
    "runner",
    "environment",
    "metadata_key",
    "cursor",
    "audit",
    "login",
    "change",
)  # belong to no project


def disable_foreign_keys(db: Database) -> None:
    """Disable foreign keys on a connection that deletes projects: SQLite would scan whole tables for each row."""
    db.conn.execute("PRAGMA foreign_keys = OFF")


def count_data(db: Database, project_id: int) -> dict[str, int]:
    """Return the numbers of executions, tasks, pipelines, deliveries and outputs, and the total size of outputs."""
    values = {"project": project_id}
    found = {
        f"{table}s": _number(db, f"SELECT COUNT(*) FROM {table} WHERE project_id = :project", values)
        for table in ("execution", "task", "pipeline")
    }
    found["deliveries"] = _number(db, f"SELECT COUNT(*) FROM delivery WHERE repository_id IN ({REPOSITORIES})", values)
    found["outputs"] = _number(db, "SELECT COUNT(*) FROM datum WHERE project_id = :project", values)
    found["output_bytes"] = _number(
        db, "SELECT COALESCE(SUM(size), 0) FROM datum WHERE project_id = :project AND purged_at IS NULL", values
    )
    return found


def list_newest_executions(db: Database, project_id: int, many: int) -> list[int]:
    """List the ids of the newest executions. A re-run is newer than its original."""
    sql = "SELECT id FROM execution WHERE project_id = ? ORDER BY counter DESC LIMIT ?"
    return [found["id"] for found in fetch_rows(db, sql, (project_id, many))]


@needs_transaction
def delete_some_metadata(db: Database, execution_id: int) -> bool:
    """Delete a batch of metadata; return False if nothing was left."""
    for table, many in METADATA.items():
        some = f"SELECT key_id, seq FROM {table} WHERE execution_id = ? LIMIT ?"
        sql = f"DELETE FROM {table} WHERE execution_id = ? AND (key_id, seq) IN ({some})"
        if execute(db, sql, (execution_id, execution_id, many)) > 0:
            return True
    return False


@needs_transaction
def delete_execution(db: Database, execution_id: int) -> None:
    """Delete an execution and its rows in other tables."""
    for table in OF_EXECUTION:
        execute(db, f"DELETE FROM {table} WHERE execution_id = ?", (execution_id,))
    execute(db, "DELETE FROM execution WHERE id = ?", (execution_id,))
    # SQLite reuses the ids of the last rows, and the outbox must not skip the new rows as already read
    execute(db, "UPDATE cursor SET position = min(position, (SELECT COALESCE(MAX(id), 0) FROM state_change))")


@needs_transaction
def drop_some_bodies(db: Database, project_id: int) -> bool:
    """Empty the bodies of handled deliveries; return False if there were none."""
    some = (
        f"SELECT id FROM delivery WHERE repository_id IN ({REPOSITORIES}) AND NOT {STORED} AND length(body) > 0"
        f" LIMIT {BODIES}"
    )
    return execute(db, f"UPDATE delivery SET body = x'' WHERE id IN ({some})", {"project": project_id}) > 0


@needs_transaction
def delete_project(db: Database, project_id: int) -> None:
    """Delete a project that has no executions."""
    values = {"project": project_id}
    for table in OF_REPOSITORY:
        execute(db, f"DELETE FROM {table} WHERE repository_id IN ({REPOSITORIES})", values)
    execute(db, f"DELETE FROM pipeline_node WHERE pipeline_id IN ({PIPELINES})", values)
    for table in OF_PROJECT:
        execute(db, f"DELETE FROM {table} WHERE project_id = :project", values)
    execute(db, "DELETE FROM project WHERE id = :project", values)


def list_repository_ids(db: Database) -> set[int]:
    return {found["id"] for found in fetch_rows(db, "SELECT id FROM repository")}


def _number(db: Database, sql: str, values: dict[str, int]) -> int:
    found = fetch_row(db, sql, values)
    return int(next(iter(found.values()))) if found else 0
