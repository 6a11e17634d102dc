"""The audit trail: who did what to what, when and from where.

Functions that change something call `record` in the transaction of the change; who acts is set where requests and
commands begin (`set_actor`, `acting`). An entry names things and never contains a secret. It keeps its names when the
user, the token or the project is removed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import StrEnum

from sqlite_utils import Database

from core import clock
from web.store.db import execute, fetch_row, fetch_rows, transaction

NAME_CHARS, DETAIL_CHARS = 200, 500
FAILED_LOGINS = 10_000  # kept at most: strangers cause them, and must not push other entries out
FAILED_LOGINS_PER_MINUTE = 60  # recorded at most
BATCH = 5_000  # entries deleted in one transaction, or read at once for a download


class Act(StrEnum):
    """The action of an entry."""

    LOGIN = "login"
    FAILED_LOGIN = "failed login"
    LOGOUT = "logout"
    LAUNCH = "launch"
    STOP = "stop"
    APPROVE = "approve"
    CREATE = "create"
    CHANGE = "change"
    REMOVE = "remove"
    REQUEST = "request"  # a change that no function recorded


class Kind(StrEnum):
    """The kind of object that the action concerned."""

    USER = "user"
    TOKEN = "token"  # noqa: S105
    SESSION = "session"
    LOGIN = "login account"
    INVITATION = "invitation"
    MEMBER = "member"
    PROJECT = "project"
    RULES = "rules"
    VARIABLE = "variable"
    SECRET = "secret"  # noqa: S105
    CREDENTIALS = "credentials"
    SETTINGS = "settings"
    COMMIT = "commit"
    DELIVERY = "delivery"
    EXECUTION = "execution"
    TASK = "task"
    PIPELINE = "pipeline"
    OUTPUT = "output"
    ALIAS = "alias"
    RUNNER = "runner"
    ENVIRONMENT = "environment"
    ROUTE = "route"


class Way(StrEnum):
    """The interface through which the action was done."""

    PAGE = "page"
    API = "API"
    GIT = "git"
    COMMAND = "command line"
    FORGE = "Git host"
    SCHEDULE = "schedule"
    SERVER = "server"


@dataclass(frozen=True, kw_only=True)
class Actor:
    """The author of an action, with the address. On the command line `username` is the machine's user."""

    way: Way
    username: str = ""
    token_id: int | None = None
    address: str = ""
    recorded: list[Act] = field(default_factory=list, compare=False)  # by this request or command


@dataclass(frozen=True, kw_only=True)
class AuditEntry:
    id: int
    at: str
    action: str
    kind: str
    name: str
    project: str
    username: str
    token: str
    way: str
    address: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class AuditQuery:
    """A search for entries; empty fields match all. `since` and `until` are times or prefixes of times."""

    username: str = ""
    action: str = ""
    kind: str = ""
    project: str = ""
    project_uuid: str = ""
    since: str = ""
    until: str = ""
    before: int = 0  # the id of the last entry of the previous page


_actor: ContextVar[Actor | None] = ContextVar("actor", default=None)


def get_actor() -> Actor:
    """Return the current actor: the server itself, unless another one was set."""
    return _actor.get() or Actor(way=Way.SERVER)


def set_actor(who: Actor | None) -> None:
    """Set the current actor of this thread; None is the server itself."""
    _actor.set(who)


@contextmanager
def acting(who: Actor) -> Iterator[None]:
    """Set the current actor in a block."""
    before = _actor.set(who)
    try:
        yield
    finally:
        _actor.reset(before)


def record(
    db: Database, action: Act, kind: Kind, name: object, project_id: int | None = None, detail: str = ""
) -> None:
    """Record an action, in the caller's transaction if there is one. `name` and `detail` hold no secrets."""
    who = get_actor()
    who.recorded.append(action)
    sql = (
        "INSERT INTO audit (at, action, kind, name, project, project_uuid, username, token, way, address, detail)"
        " SELECT ?, ?, ?, ?, COALESCE(project.name, ''), COALESCE(project.uuid, ''), ?,"
        " COALESCE((SELECT COALESCE(NULLIF(name, ''), 'token ' || id) FROM token WHERE id = ?), ''), ?, ?, ?"
        " FROM (SELECT 1) LEFT JOIN project ON project.id = ?"
    )
    what = (clock.now(), action.value, kind.value, str(name)[:NAME_CHARS])
    by = (who.username, who.token_id, who.way.value, who.address, detail[:DETAIL_CHARS])
    execute(db, sql, (*what, *by, project_id))


def record_failed_login(db: Database, username: str) -> None:
    """Record a failed login, unless there were many in the last minute. `username` is known, or ""."""
    sql = "SELECT at FROM audit WHERE action = ? ORDER BY id DESC LIMIT 1 OFFSET ?"
    last = fetch_row(db, sql, (Act.FAILED_LOGIN, FAILED_LOGINS_PER_MINUTE - 1))
    if last is None or clock.count_seconds_between(last["at"], clock.now()) > 60:
        record(db, Act.FAILED_LOGIN, Kind.USER, username)


def search(db: Database, query: AuditQuery, limit: int) -> list[AuditEntry]:
    """List the newest entries that match."""
    where, values = _where(query)
    found = fetch_rows(db, f"SELECT * FROM audit WHERE {where} ORDER BY id DESC LIMIT ?", [*values, limit])
    return [AuditEntry(**{name: item[name] for name in AuditEntry.__dataclass_fields__}) for item in found]


def find_oldest(db: Database) -> AuditEntry | None:
    found = fetch_row(db, "SELECT * FROM audit ORDER BY id LIMIT 1")
    return AuditEntry(**{name: found[name] for name in AuditEntry.__dataclass_fields__}) if found else None


def prune(db: Database, age_s: float, entries: int) -> None:
    """Delete entries older than `age_s` seconds, and the oldest of more than `entries`. 0 means unlimited."""
    if age_s:
        _delete(db, "at < ?", (clock.add_to_now(-age_s),))
    failed, others = "action = ?", "action <> ?"
    for which, most in ((failed, FAILED_LOGINS), (others, entries)):
        if most and (last := _beyond(db, which, most)):
            _delete(db, f"{which} AND id <= ?", (Act.FAILED_LOGIN, last))


def _beyond(db: Database, which: str, most: int) -> int:
    """Return the newest entry beyond the newest `most`; 0 if there is none."""
    sql = f"SELECT id FROM audit WHERE {which} ORDER BY id DESC LIMIT 1 OFFSET ?"
    found = fetch_row(db, sql, (Act.FAILED_LOGIN, most))
    return int(found["id"]) if found else 0


def _delete(db: Database, where: str, values: tuple[object, ...]) -> None:
    sql = f"DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE {where} ORDER BY id LIMIT {BATCH})"
    deleted = BATCH
    while deleted == BATCH:
        with transaction(db):
            deleted = execute(db, sql, values)


def _where(query: AuditQuery) -> tuple[str, list[object]]:
    equal = {name: getattr(query, name) for name in ("username", "action", "kind", "project", "project_uuid")}
    found: list[tuple[str, object]] = [(f"{name} = ?", value) for name, value in equal.items() if value]
    if query.since:
        found.append(("at >= ?", query.since))
    if query.until:  # "2026-11-29" includes that day
        found.append(("at < ? || '~'", query.until))
    if query.before:
        found.append(("id < ?", query.before))
    return " AND ".join(["1", *(sql for sql, _ in found)]), [value for _, value in found]
