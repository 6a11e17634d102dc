"""Runs of pipeline nodes: the newest execution or task of each node counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from core.groups import PipelineNode, Task
from core.model import Execution, Origin
from core.states import FINAL, FailureReason, State
from web.config.tasks.plan import plan
from web.services import launch, tasks
from web.services.context import Context
from web.services.executions import lifecycle
from web.services.presentation.execution_status import FAILURES
from web.store import groups, pipelines, users, variables
from web.store import tasks as task_rows
from web.store.db import Database


@dataclass(frozen=True)
class NodeRun:
    """The newest execution or task of a node. `state` is `started` until it has ended and is not restarted."""

    made: Execution | Task

    @property
    def state(self) -> State:
        if isinstance(self.made, Execution) and self.made.restarts:
            return State.STARTED  # the sweep restarts it
        return self.made.state if self.made.state in FINAL else State.STARTED

    @property
    def outcome(self) -> str:
        """Describe how it ended, such as "#12 exited with code 1"; "" if it succeeded."""
        if self.state is State.STOPPED:
            return f"{self.number} was stopped"
        if self.state is State.COMPLETE:
            return ""
        if isinstance(self.made, Task):
            return f"{self.number}: {self.made.message}" if self.made.message else f"{self.number} failed"
        if self.made.failure_reason is FailureReason.COMMAND_FAILED and self.made.exit_code is not None:
            return f"{self.number} exited with code {self.made.exit_code}"
        reason = FAILURES[self.made.failure_reason] if self.made.failure_reason else "failed"
        return f"{self.number}: {self.made.failure_message or reason}"

    @property
    def number(self) -> str:
        return f"!{self.made.counter}" if isinstance(self.made, Task) else f"#{self.made.counter}"


def map_newest_by_node(db: Database, nodes: Sequence[PipelineNode]) -> dict[int, NodeRun]:
    """Return the newest run by node id; nodes without one are omitted."""
    made: dict[int, Execution | Task] = {
        **pipelines.map_newest_executions(db, [node.id for node in nodes if node.kind == "execution"]),
        **pipelines.map_newest_tasks(db, [node.id for node in nodes if node.kind == "task"]),
    }
    return {node_id: NodeRun(one) for node_id, one in made.items()}


def list_executions(db: Database, run: NodeRun) -> list[Execution]:
    """List the executions of a run; of a task, the newest of each trial."""
    return task_rows.list_trials(db, run.made.id) if isinstance(run.made, Task) else [run.made]


def stop_run_of_node(context: Context, run: NodeRun, who: str, message: str) -> bool:
    """Stop a run; return False if it has ended or a stop was already requested."""
    if run.made.stop_requested_at is not None or run.made.state in FINAL:
        return False
    if isinstance(run.made, Task):
        tasks.request_stop(context, run.made, who, message=message)
    else:
        lifecycle.stop(context, run.made, who, message)
    return True


def rerun(context: Context, run: NodeRun) -> None:
    """Run again with the same values, for the same node.

    Raises InvalidInput, changing nothing, if a task's values are no longer valid.
    """
    creator = users.get(context.db, run.made.creator_id)
    if isinstance(run.made, Execution):
        launch.rerun(context, run.made, creator, "Retries", Origin.NODE)
        return
    task = run.made
    planned = plan(
        task.config,
        task.name,
        parameters=task.parameters,
        inputs=task.inputs,
        environment_variables=task.environment_variables,
        provided=variables.list_names(context.db, task.project_id),
    )
    request = launch.make_group_request(context.db, task, Origin.NODE, f"Retries {run.number}")
    (started,) = launch.start(context, [replace(request, plan=planned, pipeline_node_id=task.pipeline_node_id)])
    groups.update(context.db, "task", started.id, seed=task.seed)  # the same random values again
