"""The table of rights: what each role, and each scope of a token, allows.

A user may do what the role in the project allows, and of that only what a scope of the token allows. The server's
administrators have all rights in all projects. `web.http.auth.may` asks this table; nothing else decides.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum

from core.identity import Scope


class Role(StrEnum):
    """The role of a user in a project, with increasing rights."""

    READER = "reader"
    WRITER = "writer"
    OWNER = "owner"


class Action(StrEnum):
    READ = "read"  # pages, logs, outputs, read-only API requests, git fetch, badges
    PUSH = "push"  # git push
    LAUNCH = "launch"  # launch, stop, approve, tag, delete runs
    OWN = "own"  # rules, variables, members, settings, deletion of the project
    CREATE = "create"  # a new project, also by a push to an unknown name
    ACCOUNT = "account"  # the user's own password, tokens and sessions
    ADMINISTER = "administer"  # users, runners and environments


MEANING = {
    Action.READ: "pages, logs, outputs, `git fetch`",
    Action.PUSH: "`git push`",
    Action.LAUNCH: "launch, stop, approve, tag",
    Action.OWN: "rules, variables, members, settings, delete",
    Action.CREATE: "create a project",
    Action.ACCOUNT: "own password, tokens and sessions",
    Action.ADMINISTER: "users, runners, environments",
}
OF_ROLE = {
    Role.READER: frozenset({Action.READ}),
    Role.WRITER: frozenset({Action.READ, Action.PUSH, Action.LAUNCH}),
    Role.OWNER: frozenset({Action.READ, Action.PUSH, Action.LAUNCH, Action.OWN}),
}
OF_EVERYBODY = frozenset({Action.CREATE, Action.ACCOUNT})  # every user, whatever the roles
OUTSIDE = OF_EVERYBODY | {Action.ADMINISTER}  # what happens outside projects, so that no role decides it
OF_SCOPE = {
    Scope.READ: frozenset({Action.READ}),
    Scope.PUSH: frozenset({Action.PUSH, Action.CREATE}),
    Scope.LAUNCH: frozenset({Action.READ, Action.PUSH, Action.LAUNCH, Action.CREATE}),
    Scope.ADMIN: frozenset(Action),
}


def list_rights(role: Role | None, *, is_admin: bool) -> frozenset[Action]:
    """Return the actions that a user with this role may perform in a project. None means no role."""
    if is_admin:
        return frozenset(Action)
    return OF_EVERYBODY | (OF_ROLE[role] if role else frozenset())


def is_in_scope(scopes: Collection[Scope], action: Action) -> bool:
    """Return whether a token with these scopes may be used for the action."""
    return any(action in OF_SCOPE[scope] for scope in scopes)


def format_table() -> str:
    """Return the table in Markdown, as in docs/people.md."""
    roles = [("no role", list_rights(None, is_admin=False))]
    roles += [(role.value, list_rights(role, is_admin=False)) for role in Role]
    roles += [("server admin", list_rights(None, is_admin=True))]
    columns = [*roles, *((f"token *{scope.value}*", OF_SCOPE[scope]) for scope in Scope)]
    lines = [["to do", *(name for name, _ in columns)], ["---", *(":-:" for _ in columns)]]
    lines += [[MEANING[action], *("✓" if action in allowed else "" for _, allowed in columns)] for action in Action]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
