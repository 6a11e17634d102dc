"""Outbox of commit statuses and comments for forges; `web.services.forges.publisher` posts the lines that are due."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sqlite_utils import Database

from core import clock
from web.store.db import Row, execute, fetch_row, fetch_rows


class OutboxKind(StrEnum):
    """Kind of a line."""

    STATUS = "status"  # a commit, by its sha
    COMMENT = "comment"  # a pull request, by its number


# A forge may ask for a pause of a day; a time further away was stored while the clock was wrong, and counts as passed.
FAR_S = 2 * 86400.0
DUE = "due_at IS NOT NULL AND due_at NOT BETWEEN :now AND :far"

# Delay after a line is first enqueued; changes in between are posted together.
GAP_S = {OutboxKind.STATUS: 1.0, OutboxKind.COMMENT: 10.0}

ENQUEUE = """
    INSERT INTO outbox (repository_id, kind, subject, due_at, since, changed_at)
    SELECT id, ?, ?, ?, ?, ? FROM repository WHERE id = ? AND api_token IS NOT NULL
    ON CONFLICT (repository_id, kind, subject) DO UPDATE SET
        version = version + 1, changed_at = excluded.changed_at, since = COALESCE(since, excluded.since),
        attempts = CASE WHEN due_at IS NULL THEN 0 ELSE attempts END,
        problem = CASE WHEN due_at IS NULL THEN '' ELSE problem END,
        due_at = CASE WHEN due_at IS NULL OR (attempts = 0 AND excluded.due_at < due_at) THEN excluded.due_at ELSE due_at END
"""


@dataclass(frozen=True, kw_only=True)
class OutboxLine:
    """A line of the outbox.

    `version` counts how often it was enqueued, `since` is when it first became due, `attempts` counts the failures
    since then. `pipeline` is the GitLab pipeline to which the commit's statuses belong.
    """

    id: int
    repository_id: int
    kind: OutboxKind
    subject: str
    version: int
    due_at: str | None
    since: str | None
    attempts: int
    problem: str
    pipeline: str


def enqueue(db: Database, repository_id: int, kind: OutboxKind, subject: str, *, at_once: bool = False) -> None:
    """Enqueue a post, since the forge may show something outdated. Does nothing if the repository has no token.

    The line is due GAP_S after it was first enqueued. A line that waits after a failure continues to wait.
    """
    now = clock.now()
    due_at = now if at_once else clock.add_to_now(GAP_S[kind])
    execute(db, ENQUEUE, (kind, subject, due_at, now, now, repository_id))


def list_due_repositories(db: Database) -> list[int]:
    """List repositories with a due line whose forge may be called now, the longest waiting first."""
    sql = (
        f"SELECT repository_id FROM outbox JOIN repository ON repository.id = repository_id WHERE {DUE}"
        " AND api_token IS NOT NULL AND api_problem = ''"
        " AND (api_retry_at IS NULL OR api_retry_at NOT BETWEEN :now AND :far)"
        " GROUP BY repository_id ORDER BY MIN(due_at)"
    )
    return [int(found["repository_id"]) for found in fetch_rows(db, sql, make_due_times())]


def find_next_due(db: Database, repository_id: int) -> OutboxLine | None:
    """Return the line of a repository that has been due for longest."""
    sql = f"SELECT * FROM outbox WHERE repository_id = :repository_id AND {DUE} ORDER BY due_at, id LIMIT 1"
    found = fetch_row(db, sql, {"repository_id": repository_id, **make_due_times()})
    return _line(found) if found else None


def make_due_times() -> dict[str, str]:
    """Return the values of the condition DUE."""
    return {"now": clock.now(), "far": clock.add_to_now(FAR_S)}


def mark_posted(db: Database, line: OutboxLine, *, problem: str = "", pipeline: str = "") -> None:
    """Record that a line was posted; it is due again if it was enqueued again meanwhile.

    `problem` is the reason if the forge rejected it.
    """
    again = "CASE WHEN version = ? THEN NULL ELSE ? END"
    sql = f"UPDATE outbox SET due_at = {again}, since = {again}, attempts = 0, problem = ?, pipeline = ? WHERE id = ?"
    due = (line.version, clock.add_to_now(GAP_S[line.kind]), line.version, clock.now())
    execute(db, sql, (*due, problem, pipeline, line.id))


def postpone(db: Database, line: OutboxLine, wait_s: float, problem: str, pipeline: str) -> None:
    sql = "UPDATE outbox SET due_at = ?, attempts = attempts + 1, problem = ?, pipeline = ? WHERE id = ?"
    execute(db, sql, (clock.add_to_now(wait_s), problem, pipeline, line.id))


def give_up(db: Database, line: OutboxLine, problem: str) -> None:
    """Stop retrying a line until it is enqueued again."""
    sql = "UPDATE outbox SET due_at = NULL, since = NULL, attempts = 0, problem = ? WHERE id = ?"
    execute(db, sql, (problem, line.id))


def retry_now(db: Database, line: OutboxLine) -> None:
    """Make a line due now and drop its back-off."""
    now = clock.now()
    sql = "UPDATE outbox SET version = version + 1, due_at = ?, since = ?, attempts = 0, problem = '' WHERE id = ?"
    execute(db, sql, (now, now, line.id))


def drop_due(db: Database, repository_id: int | None = None) -> None:
    """Make no line due, of a repository or of all repositories."""
    where, values = ("", ()) if repository_id is None else (" AND repository_id = ?", (repository_id,))
    sql = "UPDATE outbox SET due_at = NULL, since = NULL, attempts = 0 WHERE due_at IS NOT NULL"
    execute(db, sql + where, values)


def list_failing(db: Database, repository_id: int) -> list[OutboxLine]:
    """List up to 100 lines with a problem, newest first."""
    sql = "SELECT * FROM outbox WHERE repository_id = ? AND problem <> '' ORDER BY changed_at DESC LIMIT 100"
    return [_line(found) for found in fetch_rows(db, sql, (repository_id,))]


def count_waiting(db: Database, repository_id: int) -> int:
    """Return how many lines of a repository are due, now or later."""
    found = fetch_row(
        db, "SELECT COUNT(*) AS n FROM outbox WHERE repository_id = ? AND due_at IS NOT NULL", (repository_id,)
    )
    return int(found["n"]) if found else 0


def find_position(db: Database, name: str) -> int | None:
    """Return the read position of the named reader, None if it has never read."""
    found = fetch_row(db, "SELECT position FROM cursor WHERE name = ?", (name,))
    return int(found["position"]) if found else None


def set_position(db: Database, name: str, position: int) -> None:
    sql = "INSERT INTO cursor VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET position = excluded.position"
    execute(db, sql, (name, position))


def _line(found: Row) -> OutboxLine:
    values = {name: found[name] for name in OutboxLine.__dataclass_fields__}
    return OutboxLine(**values | {"kind": OutboxKind(found["kind"])})
