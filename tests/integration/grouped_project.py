"""A project whose commit declares tasks and a pipeline, and their runs, as rows that nothing reconciles."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import by_hand
from api_server import ApiServer
from site_client import Person

from core.groups import Pipeline, Task
from core.model import Execution
from core.states import State
from web.config.steps.resolve import resolve
from web.store import executions, groups, metadata, pipelines, projects, tasks
from web.store.db import execute, transaction

YAML = b"""
- step:
    name: train
    image: python:3.12
    command: python train.py {parameters}
    parameters:
      - {name: rate, type: float, default: 0.5}
      - {name: kind, type: string, default: a}
      - {name: epochs, type: integer, default: 3}
- step: {name: prepare, image: python:3.12, command: python prepare.py}
- task:
    name: search
    step: train
    type: grid_search
    parameters: [{name: rate, style: multiple, rules: {items: [0.1, 0.2, 0.3]}}]
- task:
    name: aimed
    step: train
    type: bayesian_tpe
    execution-count: 4
    optimization-target-metric: size
    optimization-target-value: 10
    parameters: [{name: rate, style: random, rules: {min: 0, max: 1}}]
- pipeline:
    name: full
    nodes:
      - {name: prepare, type: execution, step: prepare}
      - {name: train, type: execution, step: train}
      - {name: tune, type: task, task: search}
    edges:
      - [prepare.dependency.first, train.dependency.first]
      - [prepare.dependency.first, tune.dependency.first]
"""
NODES = (("prepare", "execution"), ("train", "execution"), ("tune", "task"))


class Grouped:
    """`person` looks at the pages of the project `demo`."""

    def __init__(self, api: ApiServer) -> None:
        self.api, self.db = api, api.db
        self.commit = api.add_commit(api.demo, "c" * 40, YAML, message="tune it", problems=())
        self.person = Person(api)
        self.person.log_in()

    def task(self, name: str = "search", *, planned: int = 3, node: int | None = None) -> Task:
        """Add a started task without executions."""
        values = {
            "project_id": self.api.demo.id, "commit_id": self.commit.id, "name": name, "step": "train", "seed": 1,
            "type": "grid_search", "config": self.commit.config, "parameters": {}, "inputs": {}, "planned": planned,
            "environment_variables": {}, "creator_id": self.api.admin.id, "pipeline_node_id": node,
        }  # fmt: skip
        with transaction(self.db):
            task = tasks.add(self.db, values)
            groups.transition(self.db, "task", task.id, State.CREATED, State.STARTED)
        return tasks.get(self.db, task.id)

    def pipeline(self) -> tuple[Pipeline, dict[str, int]]:
        """Add a started pipeline; return it with its nodes, none of which has started."""
        values = {
            "project_id": self.api.demo.id, "commit_id": self.commit.id, "name": "full", "config": self.commit.config,
            "parameters": {}, "creator_id": self.api.admin.id,
        }  # fmt: skip
        with transaction(self.db):
            pipeline = pipelines.add(self.db, values, NODES)
            groups.transition(self.db, "pipeline", pipeline.id, State.CREATED, State.STARTED)
        return pipeline, {node.name: node.id for node in pipelines.list_nodes(self.db, pipeline.id)}

    def run(
        self, step: str, state: State = State.COMPLETE, parameters: Mapping[str, Any] | None = None, **place: Any
    ) -> Execution:
        """Add an execution of a trial or a node, in a state."""
        with transaction(self.db):
            resolved = resolve(self.commit.config, step, parameters=dict(parameters or {}))
            project = projects.get(self.db, self.api.demo.id)
            execution = by_hand.execution(self.api.context, project, self.commit, resolved, self.api.admin, **place)
            execute(self.db, "UPDATE execution SET state = ? WHERE id = ?", (state, execution.id))
        return executions.get(self.db, execution.id)

    def trial(
        self,
        task: Task,
        trial: int,
        reached: Mapping[str, Any] | None = None,
        state: State = State.COMPLETE,
        **given: Any,
    ) -> Execution:
        place = {"task_id": task.id, "trial": trial, "pipeline_node_id": task.pipeline_node_id}
        execution = self.run("train", state, given, **place)
        if reached:
            with transaction(self.db):
                metadata.add(self.db, execution.id, [(1, reached)])
        return execution

    def many(self, task: Task, numbers: Sequence[float], kept: int = 1) -> None:
        """Add a trial for each number, which is its loss; they have no logs."""
        first = self.trial(task, 0, {"loss": numbers[0]} | {f"key {i}": i for i in range(kept - 1)}, rate=0.5)
        names = [name for name in self._columns() if name not in ("id", "uuid", "counter", "trial", "parameters")]
        listed = ", ".join(names)
        with transaction(self.db):
            for i, number in enumerate(numbers[1:], 1):
                counter = projects.take_counter(self.db, task.project_id)
                given = json.dumps(dict(first.parameters) | {"rate": i / 1000, "kind": "abc"[i % 3], "epochs": i % 7})
                execute(
                    self.db,
                    f"INSERT INTO execution (uuid, counter, trial, parameters, {listed})"
                    f" SELECT ?, ?, ?, ?, {listed} FROM execution WHERE id = ?",
                    (f"many-{task.id}-{i}", counter, i, given, first.id),
                )
                made = executions.get_by_counter(self.db, task.project_id, counter)
                metadata.add(self.db, made.id, [(1, {"loss": number} | {f"key {k}": i for k in range(kept - 1)})])

    def _columns(self) -> list[str]:
        return [str(column.name) for column in self.db["execution"].columns]

    def page(self, path: str) -> str:
        answer = self.person.get(f"/p/demo/{path}")
        assert answer.status_code == 200, answer.text[-2000:]
        return answer.text
