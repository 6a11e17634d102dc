"""Recorded pushes: events that moved a ref or updated a pull request, and their outcomes."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlite_utils import Database

from core import clock
from core.errors import NotFound
from core.model import EventKind, PushEvent, is_zero, shorten_ref
from web.store.db import Row, execute, fetch_row, fetch_rows, insert, needs_transaction


class PushResult(StrEnum):
    """Result of a push event, from which statuses are derived; the event's outcome is text for people."""

    NONE = ""  # no commit, or unknown
    LAUNCHED = "launched"
    NOTHING = "nothing"  # nothing to run
    SKIPPED = "skipped"  # on purpose
    WAITING = "waiting"  # for approval
    FAILED = "failed"  # its commit is missing
    DELETED = "deleted"  # it deletes the configuration that its base has


@dataclass(frozen=True, kw_only=True)
class Push:
    """A recorded push event. `outcome` describes the result; `skipped` are (label, reason) pairs.

    `problems` name requested targets and values that do not exist. `again_of` is the push that this one re-runs.
    """

    id: int
    repository_id: int
    kind: EventKind
    ref: str
    before: str
    after: str
    pusher: str
    message: str
    options: tuple[str, ...]
    delivery_id: int | None
    commit_id: int | None
    pull_request_id: int | None
    outcome: str
    result: PushResult
    skipped: tuple[tuple[str, str], ...]
    problems: tuple[str, ...]
    again_of: int | None
    late: bool
    created_at: str

    @property
    def name(self) -> str:
        """The short name of the ref."""
        return shorten_ref(self.ref)

    @property
    def deleted(self) -> bool:
        return is_zero(self.after)


@dataclass(frozen=True, kw_only=True)
class PushOutcome:
    """The outcome of a push; `text` is `Push.outcome`."""

    text: str = ""
    commit_id: int | None = None
    result: PushResult = PushResult.NONE
    skipped: Sequence[tuple[str, str]] = ()
    problems: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class NewPush:
    """A push to record. A `late` one runs like any other, but does not determine the tip of its ref."""

    repository_id: int
    event: PushEvent
    outcome: PushOutcome = PushOutcome()
    identity: str = ""  # the event's, if ""
    delivery_id: int | None = None
    pull_request_id: int | None = None
    again_of: int | None = None
    late: bool = False


@dataclass(frozen=True, kw_only=True)
class LastPush:
    """The last push that moved a ref, and the source of its delivery, if it had one."""

    push: Push
    source: str | None


def add_push(db: Database, new: NewPush) -> int:
    """Record a push with its outcome and return its id."""
    event = new.event
    values = {
        "repository_id": new.repository_id, "kind": event.kind, "ref": event.ref, "before": event.before,
        "after": event.after, "pusher": event.pusher, "message": event.message, "options": json.dumps(event.options),
        "identity": new.identity or event.identity, "delivery_id": new.delivery_id,
        "pull_request_id": new.pull_request_id, "again_of": new.again_of, "late": new.late, "created_at": clock.now(),
    }  # fmt: skip
    return insert(db, "push", values | _outcome_columns(new.outcome))


def finish_push(db: Database, push_id: int, outcome: PushOutcome) -> None:
    """Replace the outcome of a push."""
    columns = _outcome_columns(outcome)
    assigned = ", ".join(f"{name} = ?" for name in columns)
    execute(db, f"UPDATE push SET {assigned} WHERE id = ?", (*columns.values(), push_id))


def _outcome_columns(outcome: PushOutcome) -> Row:
    return {
        "commit_id": outcome.commit_id, "outcome": outcome.text, "result": outcome.result,
        "skipped": json.dumps(list(outcome.skipped)), "problems": json.dumps(list(outcome.problems)),
    }  # fmt: skip


def find_last(db: Database, repository_id: int, ref: str) -> LastPush | None:
    """Return the last push that moved a ref; late pushes and re-runs do not count."""
    sql = (
        "SELECT push.*, delivery.source FROM push LEFT JOIN delivery ON delivery.id = push.delivery_id"
        " WHERE push.repository_id = ? AND push.ref = ? AND push.kind = 'push' AND push.again_of IS NULL"
        " AND NOT push.late ORDER BY push.id DESC LIMIT 1"
    )
    found = fetch_row(db, sql, (repository_id, ref))
    return LastPush(push=_push(found), source=found["source"]) if found else None


def has_moved(db: Database, repository_id: int, ref: str, sha: str) -> bool:
    """Return whether a recorded push moved a ref to this commit."""
    sql = "SELECT 1 FROM push WHERE repository_id = ? AND ref = ? AND kind = 'push' AND after = ? AND commit_id IS NOT NULL"
    return fetch_row(db, f"{sql} LIMIT 1", (repository_id, ref, sha)) is not None


def find_push(db: Database, repository_id: int, identity: str) -> Push | None:
    found = fetch_row(db, "SELECT * FROM push WHERE repository_id = ? AND identity = ?", (repository_id, identity))
    return _push(found) if found else None


def map_commits_by_ref(db: Database, repository_id: int) -> dict[str, str]:
    """Return the commit of each ref after its last push; late pushes and re-runs do not count."""
    last = "SELECT MAX(id) FROM push WHERE repository_id = ? AND kind = 'push' AND again_of IS NULL AND NOT late GROUP BY ref"
    sql = f"SELECT ref, after FROM push WHERE id IN ({last})"
    return {found["ref"]: found["after"] for found in fetch_rows(db, sql, (repository_id,))}


def list_updates_since(db: Database, repository_id: int, since: int) -> set[tuple[str, str, str]]:
    """Return the ref updates (ref, before, after) recorded from the second `since` on, since 1970."""
    sql = "SELECT ref, before, after FROM push WHERE repository_id = ? AND kind = 'push' AND created_at >= ?"
    at = clock.format_moment(datetime.fromtimestamp(since, UTC))
    return {(found["ref"], found["before"], found["after"]) for found in fetch_rows(db, sql, (repository_id, at))}


def get_newest_update_id(db: Database, repository_id: int) -> int:
    """Return the id of the last push that moved a ref; 0 before the first."""
    sql = "SELECT MAX(id) AS id FROM push WHERE repository_id = ? AND kind = 'push' AND again_of IS NULL"
    found = fetch_row(db, sql, (repository_id,))
    return int(found["id"] or 0) if found else 0


@needs_transaction
def add_found(db: Database, repository_id: int, there: Mapping[str, str], outcome: str) -> None:
    """Record the tips of refs without a recorded push, as pushes that ran nothing."""
    sql = (
        "INSERT INTO push (repository_id, ref, before, after, pusher, message, options, identity, outcome, created_at)"
        " VALUES (?, ?, ?, ?, '', '', '[]', ?, ?, ?) ON CONFLICT (repository_id, identity) DO NOTHING"
    )
    now = clock.now()
    values = [(repository_id, ref, "0" * len(sha), sha, f"found {ref}", outcome, now) for ref, sha in there.items()]
    db.conn.executemany(sql, values)


def get_push(db: Database, push_id: int) -> Push:
    found = fetch_row(db, "SELECT * FROM push WHERE id = ?", (push_id,))
    if found is None:
        raise NotFound(f"there is no push {push_id}")
    return _push(found)


def list_for_ref(db: Database, repository_id: int, kind: EventKind, ref: str, limit: int) -> list[Push]:
    """List the pushes of a ref, newest first, without re-runs."""
    sql = "SELECT * FROM push WHERE repository_id = ? AND ref = ? AND kind = ? AND again_of IS NULL ORDER BY id DESC LIMIT ?"
    return [_push(found) for found in fetch_rows(db, sql, (repository_id, ref, kind, limit))]


def list_for_commit(db: Database, commit_id: int) -> list[Push]:
    """List the pushes of a commit, newest first."""
    return select(db, "SELECT * FROM push WHERE commit_id = ? ORDER BY id DESC", [commit_id])


def map_newest_by_commit(db: Database, commit_ids: Collection[int]) -> dict[int, Push]:
    """Return the last push by commit id."""
    newest = f"SELECT MAX(id) FROM push WHERE commit_id IN ({', '.join('?' * len(commit_ids))}) GROUP BY commit_id"
    found = select(db, f"SELECT * FROM push WHERE id IN ({newest})", list(commit_ids))
    return {push.commit_id: push for push in found if push.commit_id is not None}


def list_for_delivery(db: Database, delivery_row: int) -> list[Push]:
    return select(db, "SELECT * FROM push WHERE delivery_id = ? ORDER BY id", [delivery_row])


def select(db: Database, sql: str, values: Sequence[Any]) -> list[Push]:
    """Return the pushes that a query finds; it must select all columns of `push`."""
    return [_push(found) for found in fetch_rows(db, sql, values)]


def map_newest_by_project(db: Database, project_ids: Sequence[int]) -> dict[int, Push]:
    """Return the last push by project id; pull requests do not count."""
    newest = (
        "SELECT push.id FROM push JOIN repository ON repository.id = push.repository_id"
        " WHERE repository.project_id = project.id AND push.kind = 'push' AND NOT push.late ORDER BY push.id DESC LIMIT 1"
    )
    sql = (
        f"SELECT project.id AS of_project, push.* FROM project JOIN push ON push.id = ({newest})"
        f" WHERE project.id IN ({', '.join('?' * len(project_ids))})"
    )
    return {found["of_project"]: _push(found) for found in fetch_rows(db, sql, list(project_ids))}


def _push(found: Row) -> Push:
    values = {name: found[name] for name in Push.__dataclass_fields__}
    parsed = {
        "kind": EventKind(found["kind"]),
        "result": PushResult(found["result"]),
        "late": bool(found["late"]),
        "problems": tuple(json.loads(found["problems"])),
        "options": tuple(json.loads(found["options"])),
        "skipped": tuple((label, reason) for label, reason in json.loads(found["skipped"])),
    }
    return Push(**values | parsed)
