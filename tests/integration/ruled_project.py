"""A project with rules, and a user who pushes to it."""

from __future__ import annotations

from instance import Checkout
from push_server import PushServer, step

from core.groups import Pipeline, Task
from core.model import Execution
from core.states import State
from web.services.executions import lifecycle
from web.store import launched, logs, pipelines, projects, runners, tasks
from web.store.db import execute
from web.store.launched import Launched
from web.store.selection import Selection

TWO = step("train") + step("check")
TRAIN = """- step:
    name: train
    image: busybox
    command: train {parameters}
    environment: default
    parameters:
      - {name: epochs, type: integer, default: 1}
      - {name: layers, type: integer, multiple: separate, default: [3]}
"""
# a task and a pipeline beside it, of which one is called like a step
SEARCH = """- task:
    name: train
    step: train
    parameters: [{name: epochs, style: multiple, rules: {items: [1, 2, 3]}}]
"""
FULL = """- pipeline:
    name: full
    parameters: [{name: length, default: 1, targets: [fit.parameters.epochs]}]
    nodes:
      - {name: ready, type: execution, step: check}
      - {name: fit, type: execution, step: train}
    edges: [[ready.output.*, fit.dependency.ready]]
"""
ALL = TRAIN + step("check") + SEARCH + FULL


CANCEL = '[[rule]]\nname = "main"\nsteps = ["train"]\ncancel_older = true\n[[rule]]\nname = "rest"\n'


class Model:
    """A hosted project `model` with these rules, and a working copy of it."""

    def __init__(self, pushes: PushServer, checkout: Checkout, rules: str) -> None:
        self.pushes, self.checkout = pushes, checkout
        checkout.commit({"valohai.yaml": TWO}, "first [skip ci]")
        self.push()
        self.rules(rules)

    def rules(self, text: str) -> None:
        project = projects.get_by_name(self.pushes.db, "model")
        projects.set_rules(self.pushes.db, project.id, text)

    def push(self, *arguments: str) -> str:
        """Push and ingest; return the outcome of the last push."""
        with self.pushes.worker():
            self.pushes.push(self.checkout, "model", *arguments)
        self.pushes.drain()
        return self.pushes.pushes("model")[-1].outcome

    def commit(self, files: dict[str, str], message: str = "work") -> str:
        self.checkout.commit(files, message)
        return self.checkout.git("rev-parse", "HEAD").stdout.strip()

    def change(self, files: dict[str, str], *arguments: str, message: str = "work") -> str:
        self.commit(files, message)
        return self.push(*arguments)

    def log(self, execution: Execution) -> str:
        at = logs.get_length(self.pushes.db, execution)
        return "".join(f"{line.text}\n" for line in logs.read(self.pushes.config.logs_dir, execution, at, 0, at.lines))

    @property
    def made(self) -> list[Execution]:
        return self.pushes.executions("model")

    def launched(self, place: int = -1) -> list[str]:
        """Return the executions that a push launched, by default the last push."""
        return [f"{one.number} {one.target.label}" for one in self.of_push(place)]

    def of_push(self, place: int = -1) -> list[Launched]:
        return launched.list_for_push(self.pushes.db, self.pushes.pushes("model")[place].id)

    def tasks(self, push_id: int) -> list[Task]:
        """In the order of their numbers."""
        return [task for task in tasks.search(self.pushes.db, Selection(order="id"))[0] if task.push_id == push_id]

    def pipelines(self, push_id: int) -> list[Pipeline]:
        """In the order of their numbers."""
        found, _ = pipelines.search(self.pushes.db, Selection(order="id"))
        return [pipeline for pipeline in found if pipeline.push_id == push_id]

    @property
    def states(self) -> list[tuple[str, State]]:
        return [(execution.step, execution.state) for execution in self.made]


def started(pushes: PushServer, execution: Execution) -> None:
    """Start an execution as if a runner had claimed it."""
    runner = runners.list_runners(pushes.db)[0]
    placed = "UPDATE execution SET state = 'queued', runner_id = ?, attempt = 1 WHERE id = ?"
    execute(pushes.db, placed, (runner.id, execution.id))
    lifecycle.claim(pushes.context, runner, execution.uuid, 1, resume=False)
