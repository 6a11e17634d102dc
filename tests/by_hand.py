"""Launch executions, tasks and pipelines from plans, as a push does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from core.model import Commit, Execution, Origin, Project, User
from web.config.overrides import Overrides
from web.services import launch
from web.services.context import Context
from web.services.launch import Launched, LaunchRequest
from web.services.triggers.rules.runnable import Plan
from web.store import approvals
from web.store.db import Database, execute

OVERRIDES = Overrides.__dataclass_fields__


def launched(context: Context, project: Project, commit: Commit, plan: Plan, creator: User, **more: Any) -> Launched:
    """Launch a plan inside a transaction; `more` are fields of the request and of its overrides."""
    overrides = Overrides(**{name: value for name, value in more.items() if name in OVERRIDES})
    own = {name: value for name, value in more.items() if name not in OVERRIDES}
    values: dict[str, Any] = {"origin": Origin.PUSH} | own
    request = LaunchRequest(project=project, commit=commit, creator=creator, plan=plan, overrides=overrides, **values)
    return launch.start(context, [request])[0]


def execution(context: Context, project: Project, commit: Commit, plan: Plan, creator: User, **more: Any) -> Execution:
    made = launched(context, project, commit, plan, creator, **more)
    assert isinstance(made, Execution)
    return made


@contextmanager
def approved(db: Database, commit: Commit, person: User) -> Iterator[None]:
    """Approve a commit of a fork inside the block, and remove the approval afterwards."""
    assert approvals.add(db, commit.repository_id, commit.identifier, person.id)
    yield
    execute(db, "DELETE FROM approval WHERE sha = ?", (commit.identifier,))
