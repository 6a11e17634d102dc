"""Requests to start and stop tasks.

A stop only records the request and nudges the worker; the sweep does the rest. Stopping and approving in pipelines
work alike.
"""

from __future__ import annotations

import random

from core.groups import Task
from core.model import Commit, Project, User
from web.config.tasks.plan import TaskPlan
from web.config.tasks.search import SEEDS, own_seed
from web.services.context import Context
from web.services.forges import enqueue
from web.store import groups, tasks
from web.store.db import Database


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
    """Create a task in `created`; the sweep creates its executions.

    `environment` overrides the step's own; `why` is the first line of the executions' logs.
    """
    blueprint = plan.blueprint
    seed = own_seed(blueprint)
    values = {
        "project_id": project.id, "commit_id": commit.id, "push_id": push_id, "pipeline_node_id": pipeline_node_id,
        "name": blueprint.name, "step": blueprint.step, "type": blueprint.type, "config": plan.config,
        "parameters": plan.parameters, "inputs": {name: list(urls) for name, urls in plan.inputs.items()},
        "environment_variables": plan.environment_variables, "environment": environment, "priority": priority,
        "why": why, "seed": random.SystemRandom().randrange(SEEDS) if seed is None else seed, "planned": plan.count,
        "creator_id": creator.id,
    }  # fmt: skip
    task = tasks.add(db, values)
    enqueue.enqueue_commit(db, commit.id)
    return task


def request_stop(context: Context, task: Task, who: str, *, said: str = "") -> None:
    """Request that the sweep stops a task's executions and creates no more. Idempotent; ignored if it has ended.

    `said` is the message, by default "stopped by `who`".
    """
    if groups.request_stop(context.db, "task", task.id, who):
        groups.update(context.db, "task", task.id, message=said or f"stopped by {who}")
        enqueue.enqueue_commit(context.db, task.commit_id)
