"""Projects that take members from their forge: the highest role, the next query, and the last problem."""

from __future__ import annotations

from dataclasses import dataclass

from sqlite_utils import Database

from core import clock
from core.rights import Role
from web.store import audit
from web.store.audit import Act, Kind
from web.store.db import execute, fetch_row, fetch_rows, needs_transaction
from web.store.outbox import DUE, make_due_times


@dataclass(frozen=True, kw_only=True)
class MemberSource:
    """`most` is the highest role that members get, `answered_at` the last answer, `problem` why no later one came."""

    project_id: int
    most: Role
    created_at: str
    answered_at: str | None
    problem: str


def find_member_source(db: Database, project_id: int) -> MemberSource | None:
    """Return the source of a project; None if it takes no members from its forge."""
    found = fetch_row(db, "SELECT * FROM member_source WHERE project_id = ?", (project_id,))
    if found is None:
        return None
    return MemberSource(
        **{name: found[name] for name in MemberSource.__dataclass_fields__} | {"most": Role(found["most"])}
    )


@needs_transaction
def switch_on(db: Database, project_id: int, most: Role) -> None:
    """Take members from now on, or change their highest role. The source is due at once."""
    sql = (
        "INSERT INTO member_source (project_id, most, created_at, due_at, rest_until)"
        " VALUES (:project, :most, :now, :now, :now)"
        " ON CONFLICT DO UPDATE SET most = excluded.most, due_at = excluded.due_at, rest_until = excluded.rest_until"
    )
    execute(db, sql, {"project": project_id, "most": most.value, "now": clock.now()})
    audit.record(db, Act.CHANGE, Kind.SETTINGS, "members from the Git host", project_id, f"{most.value} at most")


@needs_transaction
def switch_off(db: Database, project_id: int) -> bool:
    """Take no more members; return whether it was on. The members themselves stay."""
    if not execute(db, "DELETE FROM member_source WHERE project_id = ?", (project_id,)):
        return False
    audit.record(db, Act.REMOVE, Kind.SETTINGS, "members from the Git host", project_id)
    return True


def list_due_projects(db: Database) -> list[int]:
    """List the projects whose forge must be asked now, most overdue first."""
    sql = f"SELECT project_id FROM member_source WHERE {DUE} ORDER BY due_at"
    return [found["project_id"] for found in fetch_rows(db, sql, make_due_times())]


def make_due(db: Database) -> None:
    """Make all sources due once their rest is over, because an account at a forge was linked, used or removed."""
    execute(db, "UPDATE member_source SET due_at = min(due_at, max(?, rest_until))", (clock.now(),))


@needs_transaction
def settle(db: Database, project_id: int, problem: str, wait_s: float, rest_s: float) -> None:
    """Record an answer, or why there was none. The source is due in `wait_s`; `make_due` respects `rest_s`."""
    sql = (
        "UPDATE member_source SET problem = ?, due_at = ?, rest_until = ?, answered_at = COALESCE(?, answered_at)"
        " WHERE project_id = ?"
    )
    answered_at = None if problem else clock.now()
    execute(db, sql, (problem, clock.add_to_now(wait_s), clock.add_to_now(rest_s), answered_at, project_id))
