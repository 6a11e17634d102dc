"""Pipelines: reconciled by the sweep, stopped and approved by users."""

from __future__ import annotations

import logging

from core import clock
from core.errors import Conflict
from core.groups import PipelineNode
from core.states import FINAL
from web.services.context import Context
from web.services.forges import enqueue
from web.services.pipelines import reconcile
from web.services.pipelines.progress import is_waiting_for_approval
from web.services.pipelines.stopping import request_stop
from web.store import audit, groups, pipelines
from web.store.audit import Act, Kind
from web.store.db import Database

__all__ = ["advance", "approve", "request_stop"]

logger = logging.getLogger(__name__)


def advance(context: Context) -> bool:
    """Reconcile every unfinished pipeline: start ready nodes, update nodes whose runs ended, and end pipelines.

    Depends on the database only, as `tasks.advance` does. Return whether it created executions, which must be
    dispatched, or tasks, which must be reconciled.
    """
    made = False
    for pipeline in pipelines.list_unfinished(context.db):
        try:
            made |= reconcile.reconcile(context, pipeline)
        except Exception:
            logger.exception("pipeline %s cannot be reconciled; the next sweep retries it", pipeline.uuid)
    return made


def approve(db: Database, node: PipelineNode, who: str) -> None:
    """Approve a node that waits for approval. Raises Conflict if it does not."""
    node = pipelines.get_node(db, node.id)
    pipeline = pipelines.get(db, node.pipeline_id)
    if not is_waiting_for_approval(node) or pipeline.state in FINAL or pipeline.ending:
        raise Conflict(f"node {node.name} of pipeline ={pipeline.counter} does not wait for approval")
    groups.update(db, "pipeline_node", node.id, approved_at=clock.now(), approved_by=who, message="")
    audit.record(db, Act.APPROVE, Kind.PIPELINE, f"={pipeline.counter}", pipeline.project_id, f"node {node.name}")
    enqueue.enqueue_commit(db, pipeline.commit_id)
