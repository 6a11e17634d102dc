"""The demo's tasks and pipelines: a running search of 40 trials, and six nodes in various states."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Any

import by_hand

from core import clock
from core.groups import Pipeline, Task
from core.model import Commit, Execution, Project, Runner, User
from core.states import State
from core.wire import FinalReport
from web.config.steps.resolve import resolve
from web.services.context import Context
from web.services.executions import lifecycle
from web.store import groups, metadata, pipelines, projects, tasks
from web.store.db import Database, execute, transaction

YAML = b"""
- task:
    name: lr-search
    step: train
    type: grid_search
    parameters:
      - {name: learning_rate, style: logspace, rules: {start: -4, end: -2, count: 5}}
      - {name: batch_size, style: multiple, rules: {items: [32, 64, 128, 256]}}
      - {name: optimizer, style: multiple, rules: {items: [adamw, lion]}}
    maximum-queued-executions: 4
- pipeline:
    name: full
    nodes:
      - {name: preprocess, type: execution, step: preprocess}
      - {name: split, type: execution, step: preprocess}
      - {name: search, type: task, task: lr-search}
      - {name: baseline, type: execution, step: train, on-error: continue}
      - name: evaluate
        type: execution
        step: evaluate
        actions: [{when: node-starting, then: require-approval}]
      - {name: report, type: execution, step: evaluate}
    edges:
      - [preprocess.parameter.size, split.parameter.size]
      - [split.output.train.tar, search.input.dataset]
      - [split.output.train.tar, baseline.input.dataset]
      - [search.dependency.best, evaluate.dependency.best]
      - [baseline.dependency.model, report.dependency.model]
      - [evaluate.dependency.scores, report.dependency.scores]
      - [preprocess.dependency.labels, evaluate.dependency.labels]
"""
STEPS = {"train", "preprocess", "evaluate"}
RATES = (1e-4, 10**-3.5, 1e-3, 10**-2.5, 1e-2)
RAN_S = 420


@dataclass(kw_only=True)
class Groups:
    """Makes tasks and pipelines of one commit, through the functions of the server where they exist."""

    db: Database
    context: Context
    project: Project
    commit: Commit
    push: int | None
    runner: Runner
    admin: User
    start: Callable[[Execution, Runner], None]
    now: datetime
    random: Random = field(default_factory=lambda: Random(11))

    def items(self, *names: str) -> list[Any]:
        """The items of the commit's configuration that have these names."""
        return [item for item in self.commit.config if next(iter(item.values()))["name"] in {*names, *STEPS}]

    def task(self, *, planned: int = 40, made: int = 34, running: int = 4, node: int | None = None) -> Task:
        values = {
            "project_id": self.project.id, "commit_id": self.commit.id, "push_id": self.push, "pipeline_node_id": node,
            "name": "lr-search", "step": "train", "type": "grid_search", "config": self.items("lr-search"),
            "parameters": {"epochs": 12}, "inputs": {}, "environment_variables": {}, "seed": 1, "planned": planned,
            "creator_id": self.admin.id,
        }  # fmt: skip
        with transaction(self.db):
            task = tasks.add(self.db, values)
            groups.transition(self.db, "task", task.id, State.CREATED, State.STARTED)
        for trial in range(made):
            self._trial(task, trial, ends=trial < made - running, node=node)
        self._began("task", task.id, 5400)
        return tasks.get(self.db, task.id)

    def pipeline(self) -> Pipeline:
        names = ("preprocess", "split", "search", "baseline", "evaluate", "report")
        nodes = [(name, "task" if name == "search" else "execution") for name in names]
        values = {
            "project_id": self.project.id, "commit_id": self.commit.id, "push_id": self.push, "name": "full",
            "config": self.items("full", "lr-search"), "parameters": {"epochs": 12}, "creator_id": self.admin.id,
        }  # fmt: skip
        with transaction(self.db):
            pipeline = pipelines.add(self.db, values, nodes)
            groups.transition(self.db, "pipeline", pipeline.id, State.CREATED, State.STARTED)
        node = {item.name: item.id for item in pipelines.list_nodes(self.db, pipeline.id)}
        for name, step in (("preprocess", "preprocess"), ("split", "preprocess"), ("baseline", "train")):
            self._node(node[name], step, fails=name == "baseline")
        with transaction(self.db):
            groups.transition(self.db, "pipeline_node", node["search"], State.CREATED, State.STARTED)
            groups.update(self.db, "pipeline_node", node["evaluate"], approval_asked_at=clock.now())
        self.task(planned=8, made=5, running=2, node=node["search"])
        self._began("pipeline_node", node["search"], 900)
        self._began("pipeline", pipeline.id, 2700)
        return pipelines.get(self.db, pipeline.id)

    def _trial(self, task: Task, trial: int, *, ends: bool, node: int | None) -> None:
        rate, batch = RATES[trial // 8 % 5], (32, 64, 128, 256)[trial // 2 % 4]
        optimizer = ("adamw", "lion")[trial % 2]
        given = {"learning_rate": rate, "batch_size": batch, "optimizer": optimizer, "epochs": 12}
        execution = self._launch("train", given, task_id=task.id, trial=trial, pipeline_node_id=node)
        self.start(execution, self.runner)
        far = abs(math.log10(rate) + 2.9) + 0.12 * abs(math.log2(batch) - 6.4) + (0.08 if optimizer == "lion" else 0)
        fails = ends and trial % 11 == 7
        if not fails:
            loss = round(0.11 + 0.35 * far + self.random.uniform(0, 0.06), 4)
            self._reached(execution, {"epoch": 12, "loss": loss, "accuracy": round(1 - loss * 0.7, 4)})
        if ends:
            self._end(execution, fails=fails)

    def _node(self, node: int, step: str, *, fails: bool) -> None:
        execution = self._launch(step, {}, pipeline_node_id=node)
        self.start(execution, self.runner)
        self._end(execution, fails=fails)
        with transaction(self.db):
            groups.transition(self.db, "pipeline_node", node, State.CREATED, State.STARTED)
            said = f"#{execution.counter} exited with code 1" if fails else ""
            groups.transition(
                self.db, "pipeline_node", node, State.STARTED, State.ERROR if fails else State.COMPLETE, said
            )
        self._began("pipeline_node", node, RAN_S, RAN_S)

    def _launch(self, step: str, parameters: Mapping[str, Any], **place: Any) -> Execution:
        with transaction(self.db):
            project = projects.get(self.db, self.project.id)
            resolved = resolve(self.commit.config, step, parameters=dict(parameters))
            execution = by_hand.execution(
                self.context, project, self.commit, resolved, self.admin, push_id=self.push, **place
            )
            lifecycle.queue(self.db, execution)
        return execution

    def _reached(self, execution: Execution, values: Mapping[str, Any]) -> None:
        with transaction(self.db):
            metadata.add(self.db, execution.id, [(1, values)])

    def _end(self, execution: Execution, *, fails: bool) -> None:
        report = FinalReport(
            attempt=1, state="error" if fails else "complete", failure_reason="command_failed" if fails else None,
            message="Command 2 of 2 returned 1" if fails else None, exit_code=int(fails),
        )  # fmt: skip
        lifecycle.finish(self.context, self.runner, execution.uuid, report)
        self._began("execution", execution.id, RAN_S, self.random.uniform(200, RAN_S))

    def _began(self, table: str, row: int, ago_s: float, lasted_s: float | None = None) -> None:
        """Move the creation and the start of a task or pipeline into the past."""
        started = self.now - timedelta(seconds=ago_s)
        ended = clock.format_moment(started + timedelta(seconds=lasted_s)) if lasted_s is not None else None
        with transaction(self.db):
            sql = f"UPDATE {table} SET started_at = ?, ended_at = COALESCE(?, ended_at) WHERE id = ?"
            execute(self.db, sql, (clock.format_moment(started), ended, row))
            if table in ("task", "pipeline"):
                execute(self.db, f"UPDATE {table} SET created_at = started_at WHERE id = ?", (row,))
