"""Access to the API of a repository's forge: URL, encrypted token, and whether requests are stopped or paused."""

from __future__ import annotations

from sqlite_utils import Database

from web.store.db import execute, fetch_row


def find_token(db: Database, repository_id: int) -> bytes | None:
    found = fetch_row(db, "SELECT api_token FROM repository WHERE id = ?", (repository_id,))
    return bytes(found["api_token"]) if found and found["api_token"] is not None else None


def set_token(db: Database, repository_id: int, token: bytes | None) -> None:
    """Replace or remove the encrypted token; clears a recorded problem."""
    sql = "UPDATE repository SET api_token = ?, api_problem = '', api_retry_at = NULL WHERE id = ?"
    execute(db, sql, (token, repository_id))


def set_api_url(db: Database, repository_id: int, url: str) -> None:
    """Set the URL of the API, "" for the forge's default; clears a recorded problem."""
    sql = "UPDATE repository SET api_url = ?, api_problem = '', api_retry_at = NULL WHERE id = ?"
    execute(db, sql, (url, repository_id))


def stop_posting(db: Database, repository_id: int, token: bytes, problem: str) -> None:
    """Stop requests to the forge until the problem is fixed. Does nothing if `token` is no longer the current one."""
    sql = "UPDATE repository SET api_problem = ? WHERE id = ? AND api_token = ?"
    execute(db, sql, (problem, repository_id, token))


def pause_posting(db: Database, repository_id: int, until: str | None) -> None:
    """Pause requests to the forge until a time; None ends the pause."""
    execute(db, "UPDATE repository SET api_retry_at = ? WHERE id = ?", (until, repository_id))


def resume_posting(db: Database, repository_id: int) -> None:
    """Allow requests to the forge again and clear a recorded problem."""
    execute(db, "UPDATE repository SET api_problem = '', api_retry_at = NULL WHERE id = ?", (repository_id,))
