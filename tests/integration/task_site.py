"""A server with a commit that declares tasks, whose executions change as a runner's reports would change them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import by_hand
from api_server import ApiServer

from core import clock
from core.groups import Task
from core.model import Commit, Execution
from core.states import FailureReason, State
from web.config.tasks.plan import plan
from web.services import tasks as service
from web.store import executions, metadata, tasks
from web.store.db import fetch_rows, transaction

STEP = {
    "name": "train",
    "image": "busybox",
    "command": "train {parameters}",
    "parameters": [
        {"name": "lr", "type": "float", "default": 0.1},
        {"name": "n", "type": "integer", "default": 3},
        {"name": "opt", "type": "string", "default": "adam", "choices": ["adam", "sgd", "lion"]},
    ],
}
WAY = (State.CREATED, State.QUEUED, State.STARTED)


def numbers(many: int, **keys: Any) -> dict[str, Any]:
    """A grid search of that many executions, with `n` from 1 on."""
    rules = {"start": 1, "end": many, "step": 1}
    return {"parameters": [{"name": "n", "style": "linear", "rules": rules}]} | keys


class TaskSite(ApiServer):
    def __init__(self, data: Path) -> None:
        super().__init__(data)
        self.made = 0

    def declare(self, task: Mapping[str, Any], step: Mapping[str, Any] | None = None) -> Commit:
        """Add a commit with the task `search`; keys as in valohai.yaml, with _ for -."""
        self.made += 1
        item = {"name": "search", "step": "train"} | {key.replace("_", "-"): value for key, value in task.items()}
        text = json.dumps([{"step": STEP | (step or {})}, {"task": item}])
        return self.add_commit(self.demo, hashlib.sha1(f"{self.made}{text}".encode()).hexdigest(), text.encode())

    def begin(self, task: Mapping[str, Any], step: Mapping[str, Any] | None = None, **more: Any) -> Task:
        commit = self.declare(task, step)
        given = {key: more.pop(key) for key in ("parameters",) if key in more}
        with transaction(self.db):
            planned = plan(commit.config, "search", **given)
            task = by_hand.launched(self.context, self.demo, commit, planned, self.admin, **more)
        assert isinstance(task, Task)
        return task

    def advance(self) -> bool:
        return service.advance(self.context)

    def advance_all(self) -> None:
        while self.advance():
            pass

    def stop(self, task: Task, who: str = "ada", **more: Any) -> None:
        with transaction(self.db):
            service.request_stop(self.context, task, who, **more)

    def task(self, task: Task) -> Task:
        return tasks.get(self.db, task.id)

    def trials(self, task: Task) -> list[Execution]:
        return tasks.list_trials(self.db, task.id)

    def states(self, task: Task) -> list[str]:
        return [str(trial.state) for trial in self.trials(task)]

    def of_trial(self, task: Task, trial: int) -> Execution:
        return next(execution for execution in self.trials(task) if execution.trial == trial)

    def move(self, task: Task, trial: int, to: State, reason: FailureReason | None = None) -> None:
        """Move the newest execution of a trial to a state, through the states between."""
        execution = self.of_trial(task, trial)
        for state in (*WAY[WAY.index(execution.state) + 1 :], to):
            columns: dict[str, Any] = {"lease_expires_at": clock.add_to_now(3600)} if state is State.STARTED else {}
            if state is State.ERROR:
                columns = {"failure_message": "it broke"}
            with transaction(self.db):
                executions.transition(
                    self.db, execution, state, failure_reason=reason if state is State.ERROR else None, columns=columns
                )
            execution = self.of_trial(task, trial)
            if state is to:
                return

    def complete(self, task: Task, *trials: int) -> None:
        for trial in trials:
            self.move(task, trial, State.COMPLETE)

    def fail(self, task: Task, *trials: int, reason: FailureReason = FailureReason.COMMAND_FAILED) -> None:
        for trial in trials:
            self.move(task, trial, State.ERROR, reason)

    def printed(self, task: Task, trial: int, **values: Any) -> None:
        with transaction(self.db):
            metadata.add(self.db, self.of_trial(task, trial).id, [(0, values)])

    def rows_of(self, task: Task) -> list[dict[str, Any]]:
        return fetch_rows(self.db, "SELECT id, trial, state FROM execution WHERE task_id = ? ORDER BY id", (task.id,))
