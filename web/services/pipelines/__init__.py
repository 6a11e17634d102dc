"""Pipelines: begun with a plan, moved on by the sweep, stopped and approved by people."""

from __future__ import annotations

import logging

from core import clock
from core.config import Config
from core.errors import Conflict
from core.groups import Pipeline, PipelineNode
from core.model import Commit, Project, User
from core.states import FINAL
from web.config.pipelines.plan import PipelinePlan
from web.services.forges import enqueue
from web.services.pipelines import reconcile
from web.services.pipelines.progress import waits
from web.services.pipelines.stopping import request_stop
from web.store import groups, pipelines
from web.store.db import Database

__all__ = ["advance", "approve", "request_stop", "start"]

logger = logging.getLogger(__name__)


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
    values = {
        "project_id": project.id,
        "commit_id": commit.id,
        "push_id": push_id,
        "name": plan.blueprint.name,
        "config": plan.config,
        "parameters": plan.parameters,
        "environment": environment,
        "priority": priority,
        "why": why,
        "creator_id": creator.id,
    }
    pipeline = pipelines.add(db, values, [(node.name, node.kind) for node in plan.blueprint.nodes])
    enqueue.mark_commit(db, commit.id)
    return pipeline


def advance(db: Database, config: Config) -> bool:
    """Move every unfinished pipeline on: begin the nodes that can, follow what their executions became, and end it.

    Looks at the database alone, as `tasks.advance` does; whether it made executions, which must be dispatched, or tasks,
    which must be moved on.
    """
    made = False
    for pipeline in pipelines.unfinished(db):
        try:
            made |= reconcile.move_on(db, config, pipeline)
        except Exception:
            logger.exception("pipeline %s cannot be moved on; it is tried again with the next sweep", pipeline.uuid)
    return made


def approve(db: Database, node: PipelineNode, who: str) -> None:
    """Let a node go on that waits for a person. Raises Conflict when it does not wait. Call inside a transaction."""
    node = pipelines.node(db, node.id)
    pipeline = pipelines.get(db, node.pipeline_id)
    if not waits(node) or pipeline.state in FINAL or pipeline.message:  # a message: it is ending
        raise Conflict(f"node {node.name} of pipeline ={pipeline.counter} does not wait for approval, or not any more")
    groups.update(db, "pipeline_node", node.id, approved_at=clock.now(), approved_by=who, message="")
    enqueue.mark_commit(db, pipeline.commit_id)
