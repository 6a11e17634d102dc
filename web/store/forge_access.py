"""How a repository's forge is reached, and whether it may be asked just now. The token is encrypted."""

from __future__ import annotations

from sqlite_utils import Database

from core import clock
from web.store.db import execute, row, rows


def token(db: Database, repository_id: int) -> bytes | None:
    found = row(db, "SELECT api_token FROM repository WHERE id = ?", (repository_id,))
    return bytes(found["api_token"]) if found and found["api_token"] is not None else None


def set_token(db: Database, repository_id: int, token: bytes | None) -> None:
    """Another token, or none any more. What was wrong with the last one is forgotten."""
    sql = "UPDATE repository SET api_token = ?, api_problem = '', api_retry_at = NULL WHERE id = ?"
    execute(db, sql, (token, repository_id))


def set_api_url(db: Database, repository_id: int, url: str) -> None:
    """Where the API is; "" for where the forge usually has it. What was wrong with the last address is forgotten."""
    sql = "UPDATE repository SET api_url = ?, api_problem = '', api_retry_at = NULL WHERE id = ?"
    execute(db, sql, (url, repository_id))


def stop(db: Database, repository_id: int, token: bytes, problem: str) -> None:
    """Ask the forge nothing more, until somebody has mended it. Without effect when `token` is no longer the one."""
    sql = "UPDATE repository SET api_problem = ? WHERE id = ? AND api_token = ?"
    execute(db, sql, (problem, repository_id, token))


def pause(db: Database, repository_id: int, until: str | None) -> None:
    """Ask the forge nothing before `until`; None: it may be asked."""
    execute(db, "UPDATE repository SET api_retry_at = ? WHERE id = ?", (until, repository_id))


def resume(db: Database, repository_id: int) -> None:
    """Ask the forge again, whatever was wrong."""
    execute(db, "UPDATE repository SET api_problem = '', api_retry_at = NULL WHERE id = ?", (repository_id,))


def usable(db: Database) -> list[int]:
    """The repositories whose forge may be asked now: there is a token, and nothing is known to be wrong with it."""
    sql = (
        "SELECT id FROM repository WHERE api_token IS NOT NULL AND api_problem = ''"
        " AND (api_retry_at IS NULL OR api_retry_at <= ?) ORDER BY id"
    )
    return [int(found["id"]) for found in rows(db, sql, (clock.now(),))]
