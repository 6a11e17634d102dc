"""Pipelines: begun with a plan, moved on by the sweep, stopped and approved by people."""

from __future__ import annotations

from sqlite_utils import Database

from core.config import Config
from core.groups import Pipeline, PipelineNode
from core.model import Commit, Project, User
from core.pipelines.plan import PipelinePlan


def start(
    db: Database,
    project: Project,
    commit: Commit,
    plan: PipelinePlan,
    creator: User,
    *,
    push_id: int | None = None,
    environment: str = "",
    priority: int = 0,
    why: str = "",
) -> Pipeline:
    """Record a pipeline in `created` with its nodes; the sweep begins them. Call inside a transaction, and nudge after it."""
    raise NotImplementedError


def advance(db: Database, config: Config) -> bool:
    """Move every unfinished pipeline on: begin the nodes that can, follow what their executions became, and end it.

    Looks at the database alone, as `tasks.advance` does; whether it made anything that must be dispatched.
    """
    raise NotImplementedError


def request_stop(db: Database, config: Config, pipeline: Pipeline, who: str) -> None:
    """Stop what runs or waits of it, and begin nothing more. Again, or when it is final: nothing. Inside a transaction."""
    raise NotImplementedError


def approve(db: Database, node: PipelineNode, who: str) -> None:
    """Let a node begin that waits for a person. Raises Conflict when it does not wait. Call inside a transaction."""
    raise NotImplementedError
