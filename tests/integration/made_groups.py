"""Tasks and pipelines of a commit as rows, advanced by the functions of their services."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import by_hand

from core import clock
from core.groups import Pipeline, PipelineNode, Task
from core.model import Commit, Execution, Project, User
from core.states import FINAL, FailureReason, State
from web.config.steps.resolve import resolve
from web.services.context import Context
from web.services.forges import enqueue
from web.store import executions, groups, metadata, pipelines, tasks
from web.store.db import Database, execute, transaction

WAY = {State.STARTED: [State.STARTED]} | {state: [State.STARTED, state] for state in FINAL}


@dataclass(frozen=True, kw_only=True)
class Groups:
    """Makes runs of a push; without one, runs that a user launched."""

    db: Database
    context: Context
    project: Project
    commit: Commit
    user: User
    push_id: int | None
    step: str = "train"

    def task(self, name: str, planned: int = 3, *, node: PipelineNode | None = None, **declared: Any) -> Task:
        """Add a task in `created`; `declared` are keys of the task in valohai.yaml."""
        config = [{"task": {"name": name, "step": self.step, "type": "grid_search", "parameters": []} | declared}]
        own = {
            "name": name, "step": self.step, "type": "grid_search", "config": config, "parameters": {}, "inputs": {},
            "environment_variables": {}, "seed": 1, "planned": planned,
            "pipeline_node_id": node.id if node else None,
        }  # fmt: skip
        with transaction(self.db):
            task = tasks.add(self.db, self._values() | own)
            enqueue.enqueue_commit(self.db, self.commit.id)
        return task

    def trial(self, task: Task, place: int, parameters: dict[str, Any] | None = None) -> Execution:
        return self._launch(parameters, task_id=task.id, trial=place, pipeline_node_id=task.pipeline_node_id)

    def pipeline(self, name: str, *nodes: str, kind: str = "execution", **values: Any) -> Pipeline:
        own = {"name": name, "config": [], "parameters": {}}
        with transaction(self.db):
            pipeline = pipelines.add(self.db, self._values() | own | values, [(node, kind) for node in nodes])
            enqueue.enqueue_commit(self.db, self.commit.id)
        return pipeline

    def node(self, pipeline: Pipeline, name: str) -> PipelineNode:
        (found,) = [node for node in pipelines.list_nodes(self.db, pipeline.id) if node.name == name]
        return found

    def run(self, pipeline: Pipeline, name: str) -> Execution:
        """Add an execution of a node."""
        return self._launch({}, pipeline_node_id=self.node(pipeline, name).id)

    def move(self, group: Task | Pipeline | PipelineNode, to: State, message: str = "", **columns: Any) -> None:
        """Set any state, with further columns; the start is 14 minutes ago."""
        table: groups.Table = (
            "task" if isinstance(group, Task) else "pipeline" if isinstance(group, Pipeline) else "pipeline_node"
        )
        store = {"task": tasks.get, "pipeline": pipelines.get, "pipeline_node": pipelines.get_node}[table]
        with transaction(self.db):
            if columns:
                groups.update(self.db, table, group.id, **columns)
            at = store(self.db, group.id).state
            for state in [] if at is to else [s for s in WAY[to] if s is not at]:
                groups.transition(self.db, table, group.id, at, state, message if state is to else "")
                at = state
            execute(self.db, f"UPDATE {table} SET started_at = ? WHERE id = ?", (clock.add_to_now(-14 * 60), group.id))
            enqueue.enqueue_commit(self.db, self.commit.id)

    def end(
        self, execution: Execution, to: State = State.COMPLETE, reason: FailureReason | None = None, **printed: Any
    ) -> Execution:
        """End an execution as reports of a runner do, with the metadata that it printed."""
        with transaction(self.db):
            metadata.add(self.db, execution.id, [(0, printed)] if printed else [])
        for state in (State.QUEUED, State.STARTED, to):
            with transaction(self.db):
                executions.transition(self.db, execution, state, failure_reason=reason if state is to else None)
            execution = executions.get(self.db, execution.id)
        return execution

    def _launch(self, parameters: dict[str, Any] | None, **place: Any) -> Execution:
        resolved = resolve(self.commit.config, self.step, parameters=parameters or {})
        with transaction(self.db):
            return by_hand.execution(
                self.context, self.project, self.commit, resolved, self.user, push_id=self.push_id, **place
            )

    def _values(self) -> dict[str, Any]:
        return {
            "project_id": self.project.id,
            "commit_id": self.commit.id,
            "push_id": self.push_id,
            "creator_id": self.user.id,
        }
