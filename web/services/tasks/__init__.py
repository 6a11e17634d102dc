"""Tasks: begun with a plan, moved on by the sweep, stopped by people."""

from __future__ import annotations

from sqlite_utils import Database

from core.config import Config
from core.groups import Task
from core.model import Commit, Project, User
from core.tasks.plan import TaskPlan


def start(
    db: Database,
    project: Project,
    commit: Commit,
    plan: TaskPlan,
    creator: User,
    *,
    push_id: int | None = None,
    pipeline_node_id: int | None = None,
    environment: str = "",
    priority: int = 0,
    why: str = "",
) -> Task:
    """Record a task in `created`; the sweep makes its executions. Call inside a transaction, and nudge after it.

    `environment` is instead of the step's own; `why` is the first thing that its executions' logs say.
    """
    raise NotImplementedError


def advance(db: Database, config: Config) -> bool:
    """Move every unfinished task on: make the executions that are due, stop those that are to stop, and end it.

    Looks at the database alone, so it may be killed anywhere and called at any time by one process; whether it made
    executions that must be dispatched.
    """
    raise NotImplementedError


def request_stop(db: Database, config: Config, task: Task, who: str) -> None:
    """Stop what runs or waits of it, and make nothing more of it. Again, or when it is final: nothing.

    Call inside a transaction.
    """
    raise NotImplementedError
