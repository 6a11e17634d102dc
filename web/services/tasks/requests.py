"""Requests to stop tasks.

A stop only records the request and nudges the worker; the sweep does the rest. Stopping pipelines and approving nodes
work in the same way.
"""

from __future__ import annotations

from core.groups import Task
from web.services.context import Context
from web.services.forges import enqueue
from web.store import audit, groups
from web.store.audit import Act, Kind


def request_stop(context: Context, task: Task, who: str, *, message: str = "") -> None:
    """Request that the sweep stops a task's executions and creates no more. Idempotent; ignored if it has ended.

    `message` is "stopped by `who`" by default.
    """
    if groups.request_stop(context.db, "task", task.id, who):
        groups.update(context.db, "task", task.id, message=message or f"stopped by {who}")
        enqueue.enqueue_commit(context.db, task.commit_id)
        if not message:  # else it belongs to a stop that is recorded
            audit.record(context.db, Act.STOP, Kind.TASK, f"!{task.counter}", task.project_id)
