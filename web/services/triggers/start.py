"""Launch chosen targets, and stop the older runs that they supersede: executions, tasks and pipelines alike.

For a task or a pipeline the transaction writes only its row; the sweep creates its executions.
"""

from __future__ import annotations

from typing import Any

from core.groups import Pipeline, Task
from core.model import Commit, Execution, Project, TargetKind, User
from web.config.pipelines.plan import PipelinePlan
from web.config.steps.resolve import ResolvedStep
from web.config.tasks.plan import TaskPlan
from web.services import pipelines, tasks
from web.services.context import Context
from web.services.executions import launch, lifecycle
from web.services.triggers import rules
from web.services.triggers.rules import Chosen
from web.store import executions
from web.store import pipelines as pipeline_store
from web.store import tasks as task_store
from web.store.launched import Launched


def start_target(
    context: Context, project: Project, commit: Commit, chosen: Chosen, creator: User, push_id: int
) -> str:
    """Create what was chosen for a push and return its number, such as `#3`."""
    why = f"Chosen by rule {chosen.rule.name}" if chosen.rule and chosen.rule is not rules.DEFAULT[0] else ""
    given: dict[str, Any] = {
        "push_id": push_id,
        "environment": chosen.environment,
        "priority": chosen.priority,
        "why": why,
    }
    made: Execution | Task | Pipeline
    match chosen.plan:
        case ResolvedStep():
            made = launch.launch(context.db, context.config, project, commit, chosen.plan, creator, **given)
        case TaskPlan():
            made = tasks.start(context.db, project, commit, chosen.plan, creator, **given)
        case PipelinePlan():
            made = pipelines.start(context.db, project, commit, chosen.plan, creator, **given)
    return f"{chosen.target.kind.sign}{made.counter}"


def supersede_target(context: Context, older: Launched, by: str) -> None:
    """Stop a run because the newer one `by` replaces it."""
    said = f"Superseded by {by}"
    match older.target.kind:
        case TargetKind.STEP:
            lifecycle.supersede(context.db, context.config.logs_dir, executions.get(context.db, older.id), by)
        case TargetKind.TASK:
            tasks.request_stop(context, task_store.get(context.db, older.id), by, said=said)
        case TargetKind.PIPELINE:
            pipelines.request_stop(context, pipeline_store.get(context.db, older.id), by, said=said)
