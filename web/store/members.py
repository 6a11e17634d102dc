"""The members of projects and their roles. Administrators of the server need no role in a project."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlite_utils import Database

from core import clock
from core.rights import Role
from web.store import audit
from web.store.audit import Act, Kind
from web.store.db import execute, fetch_row, fetch_rows, joined


@dataclass(frozen=True, kw_only=True)
class Member:
    """A user's role in a project. `source` is empty for a role given here, else it names where it comes from."""

    user_id: int
    username: str
    role: Role
    source: str
    created_at: str
    disabled_at: str | None


@dataclass(frozen=True, kw_only=True)
class Membership:
    """A project and the role of a user in it."""

    project_id: int
    role: Role | None


def find_role(db: Database, user_id: int, project_id: int) -> Role | None:
    """Return a user's role in a project."""
    found = fetch_row(db, "SELECT role FROM member WHERE user_id = ? AND project_id = ?", (user_id, project_id))
    return Role(found["role"]) if found else None


def get_source(db: Database, user_id: int, project_id: int) -> str:
    """Return where the role of a member comes from, "" if it was given here or the user is not a member."""
    found = fetch_row(db, "SELECT source FROM member WHERE user_id = ? AND project_id = ?", (user_id, project_id))
    return str(found["source"]) if found else ""


def find_membership(db: Database, user_id: int, project_name: str) -> Membership | None:
    """Return the project of this name with the user's role there; None if it does not exist. One query."""
    sql = (
        "SELECT project.id, member.role FROM project"
        " LEFT JOIN member ON member.project_id = project.id AND member.user_id = ? WHERE project.name = ?"
    )
    found = fetch_row(db, sql, (user_id, project_name))
    return Membership(project_id=found["id"], role=Role(found["role"]) if found["role"] else None) if found else None


def list_members(db: Database, project_id: int) -> list[Member]:
    """List the members of a project by name."""
    sql = (
        "SELECT member.*, user.username, user.disabled_at FROM member JOIN user ON user.id = member.user_id"
        " WHERE member.project_id = ? ORDER BY user.username"
    )
    return [
        Member(**{name: item[name] for name in Member.__dataclass_fields__} | {"role": Role(item["role"])})
        for item in fetch_rows(db, sql, (project_id,))
    ]


def list_project_ids(db: Database, user_id: int) -> frozenset[int]:
    """Return the projects in which a user has a role."""
    return frozenset(
        item["project_id"] for item in fetch_rows(db, "SELECT project_id FROM member WHERE user_id = ?", (user_id,))
    )


def list_projects_by_user(db: Database, user_ids: Sequence[int]) -> dict[int, list[tuple[str, Role]]]:
    """Return the names of projects and the roles of users there, by user id."""
    marks = ", ".join("?" * len(user_ids))
    sql = (
        "SELECT member.user_id, project.name, member.role FROM member JOIN project ON project.id = member.project_id"
        f" WHERE member.user_id IN ({marks}) ORDER BY project.name"
    )
    result: dict[int, list[tuple[str, Role]]] = {user_id: [] for user_id in user_ids}
    for found in fetch_rows(db, sql, list(user_ids)):
        result[found["user_id"]].append((found["name"], Role(found["role"])))
    return result


def set_role(db: Database, project_id: int, user_id: int, role: Role, source: str = "") -> None:
    """Add a member, or change the member's role."""
    sql = (
        "INSERT INTO member (project_id, user_id, role, source, created_at) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET role = excluded.role, source = excluded.source"
        " WHERE role <> excluded.role OR source <> excluded.source"
    )
    with joined(db):
        if execute(db, sql, (project_id, user_id, role.value, source, clock.now())):
            detail = f"{role.value}, from {source}" if source else role.value
            audit.record(db, Act.CHANGE, Kind.MEMBER, _username(db, user_id), project_id, detail)


def remove(db: Database, project_id: int, user_id: int) -> bool:
    """Remove a member; return whether the user was one."""
    with joined(db):
        if not execute(db, "DELETE FROM member WHERE project_id = ? AND user_id = ?", (project_id, user_id)):
            return False
        audit.record(db, Act.REMOVE, Kind.MEMBER, _username(db, user_id), project_id)
    return True


def _username(db: Database, user_id: int) -> str:
    found = fetch_row(db, "SELECT username FROM user WHERE id = ?", (user_id,))
    return str(found["username"]) if found else ""
