"""Environment variables and secrets of projects: stored encrypted, listed without secret values, sent at the claim.

Variables are merged into the claim's answer and nowhere else; one function here decides who gets secrets.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from core import secret_texts
from core.errors import InvalidInput, NotFound
from core.model import Execution, Project
from core.text import find_text_problem
from web.config.steps.variables import VALUE_BYTES, is_reserved
from web.services.context import Context
from web.store import audit, commits, variables
from web.store.audit import Act, Kind
from web.store.db import Database, transaction

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")  # the characters that `vh` accepts


@dataclass(frozen=True, kw_only=True)
class Variable:
    """A variable as shown to users: `value` is None for a secret. `note` is a warning, usually ""."""

    name: str
    value: str | None
    is_secret: bool
    changed_at: str
    note: str


def list_variables(context: Context, project: Project) -> list[Variable]:
    """List the variables of a project by name."""
    found = []
    for stored in variables.list_variables(context.db, project.id):
        value = context.vault.decrypt(stored.value).decode()
        found.append(
            Variable(
                name=stored.name,
                value=None if stored.is_secret else value,
                is_secret=stored.is_secret,
                changed_at=stored.changed_at,
                note=_note(value) if stored.is_secret else "",
            )
        )
    return found


def set_variable(context: Context, project: Project, name: str, value: str, *, is_secret: bool) -> str:
    """Add or replace a variable; return a warning if it is a secret that cannot be masked in logs, else "".

    Raises InvalidInput, whose message does not contain the value.
    """
    _check(name, value)
    db, encrypted = context.db, context.vault.encrypt(value.encode())
    with transaction(db):
        variables.set_one(db, project.id, name, encrypted, is_secret=is_secret)
        audit.record(db, Act.CHANGE, Kind.SECRET if is_secret else Kind.VARIABLE, name, project.id)
    return _note(value) if is_secret else ""


def remove(db: Database, project: Project, name: str) -> None:
    with transaction(db):
        if not variables.remove(db, project.id, name):
            raise NotFound(f"project {project.name} has no variable {name[:80]!r}")
        audit.record(db, Act.REMOVE, Kind.VARIABLE, name, project.id)


def collect_for_execution(context: Context, execution: Execution) -> tuple[dict[str, str], list[str]]:
    """Return all variables of an execution, and the names of the secret ones.

    Variables set by the step or at the launch override the project's, and are not secret.
    """
    own, trusted = execution.environment_variables, _trusted(context.db, execution)
    stored = [
        variable
        for variable in variables.list_variables(context.db, execution.project_id)
        if variable.name not in own and (trusted or not variable.is_secret)
    ]
    values = {variable.name: context.vault.decrypt(variable.value).decode() for variable in stored}
    return values | dict(own), [variable.name for variable in stored if variable.is_secret]


def _trusted(db: Database, execution: Execution) -> bool:
    """Return whether an execution gets the project's secrets; depends on its commit only, not on who started it."""
    return commits.is_trusted(db, execution.commit_id)


def check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise InvalidInput(f"{name[:80]!r} cannot name a variable: use 1 to 64 letters, digits, '_' and '-'")
    if is_reserved(name):
        raise InvalidInput(f"{name} cannot be set: the runner sets it itself or refuses it; choose another name")


def _check(name: str, value: str) -> None:
    check_name(name)
    if reason := find_text_problem(value):
        raise InvalidInput(f"{name} cannot be set: {reason}")
    if len(value.encode()) > VALUE_BYTES:
        raise InvalidInput(f"{name} cannot be set: the value is larger than {VALUE_BYTES:,} bytes; use an input file")


def _note(value: str) -> str:
    if secret_texts.is_masked(value):
        return ""
    parts = "it" if len(value.strip().splitlines()) < 2 else "a line of it"
    return f"Logs show {parts}: text of fewer than {secret_texts.MIN_CHARACTERS} characters is not masked"
