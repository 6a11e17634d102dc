"""A server with a project whose pipelines the test reconciles, and whose executions end as the test says."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import by_hand
from api_server import ApiServer

from core import clock
from core.groups import Pipeline, PipelineNode
from core.model import Commit, Execution, PushEvent
from core.states import FailureReason, State
from web.config.pipelines.plan import plan
from web.services import pipelines as service
from web.store import data, executions, metadata, pipelines, projects, pushes
from web.store.db import transaction
from web.store.pushes import NewPush, PushOutcome
from web.store.selection import Selection

WAY = {
    State.QUEUED: (State.QUEUED,),
    State.STARTED: (State.QUEUED, State.STARTED),
    State.COMPLETE: (State.QUEUED, State.STARTED, State.COMPLETE),
    State.ERROR: (State.QUEUED, State.STARTED, State.ERROR),
    State.STOPPED: (State.QUEUED, State.STARTED, State.STOPPED),
}
STEPS = """
- step:
    name: make
    image: busybox
    command: make {parameters}
    parameters:
      - {name: size, type: integer, default: 3}
- step:
    name: train
    image: busybox
    command: train {parameters}
    parameters:
      - {name: rate, type: float, default: 0.1}
      - {name: layers, type: integer, multiple: separate, optional: true}
    inputs:
      - {name: data}
      - {name: extra, default: "https://example.org/extra.bin", optional: true}
    environment-variables:
      - {name: MODE}
- step:
    name: test
    image: busybox
    command: test
    inputs:
      - {name: model, optional: true}
"""


class PipelineSite:
    """`text` is the valohai.yaml of its commit."""

    def __init__(self, root: Path, text: str) -> None:
        self.server = ApiServer(root / "data")
        self.db, self.config, self.context = self.server.db, self.server.config, self.server.context
        self.commit = self._add_commit(text)

    def close(self) -> None:
        self.server.close()

    def _add_commit(self, text: str) -> Commit:
        (repository,) = projects.list_repositories(self.db, self.server.demo.id)
        event = PushEvent(ref="refs/heads/main", before="0" * 40, after="b" * 40, identity="push")
        commit = self.server.add_commit(self.server.demo, event.after, text.encode())
        with transaction(self.db):
            push_id = pushes.add_push(self.db, NewPush(repository_id=repository.id, event=event))
            pushes.finish_push(self.db, push_id or 0, PushOutcome(commit_id=commit.id))
        return commit

    def start(self, name: str = "p", **parameters: Any) -> Pipeline:
        planned = plan(self.commit.config, name, parameters=parameters)
        demo, admin = self.server.demo, self.server.admin
        with transaction(self.db):
            made = by_hand.launched(self.context, demo, self.commit, planned, admin, why="Asked for")
        assert isinstance(made, Pipeline)
        return made

    def advance(self) -> bool:
        return service.advance(self.context)

    @property
    def pipeline(self) -> Pipeline:
        """Return the newest pipeline."""
        (found, *_), _ = pipelines.search(self.db, Selection(projects=[self.server.demo.id]))
        return found

    @property
    def ended(self) -> tuple[State, str]:
        return self.pipeline.state, self.pipeline.message

    def nodes(self) -> dict[str, State]:
        return {node.name: node.state for node in pipelines.list_nodes(self.db, self.pipeline.id)}

    def node(self, name: str) -> PipelineNode:
        return next(node for node in pipelines.list_nodes(self.db, self.pipeline.id) if node.name == name)

    def runs(self, name: str) -> list[Execution]:
        """Return the executions of a node, oldest first."""
        of_node = [e for e in executions.search(self.db, Selection())[0] if e.pipeline_node_id == self.node(name).id]
        return sorted((e for e in of_node if e.task_id is None), key=lambda execution: execution.id)

    def run(self, name: str) -> Execution:
        return self.runs(name)[-1]

    def move(
        self, execution: Execution, to: State, failure: FailureReason | None = None, exit_code: int | None = None
    ) -> Execution:
        """As a runner's reports do."""
        states = [State.CREATED, *WAY[to]]
        for state in states[states.index(execution.state) + 1 :]:
            last = state is to
            columns = {"exit_code": exit_code} if last else {"lease_expires_at": clock.add_to_now(3600)}
            with transaction(self.db):
                executions.transition(
                    self.db, execution, state, failure_reason=failure if last else None, columns=columns
                )
            execution = executions.get(self.db, execution.id)
        return execution

    def complete(self, *names: str) -> None:
        for name in names:
            self.move(self.run(name), State.COMPLETE)

    def fail(self, name: str, exit_code: int = 1) -> None:
        self.move(self.run(name), State.ERROR, FailureReason.COMMAND_FAILED, exit_code)

    def wrote(self, execution: Execution, *names: str) -> list[str]:
        """Record output files; return their URLs."""
        urls = []
        with transaction(self.db):
            for name in names:
                values = {"uuid": str(uuid.uuid4()), "name": name, "size": 1, "sha256": "", "sha1": "", "md5": ""}
                datum = data.add(self.db, execution.project_id, execution.id, values)
                urls.append(f"datum://{datum.uuid}")
        return urls

    def printed(self, execution: Execution, **values: Any) -> None:
        with transaction(self.db):
            metadata.add(self.db, execution.id, [(0, values)])

    def approve(self, name: str, who: str = "ada") -> None:
        with transaction(self.db):
            service.approve(self.db, self.node(name), who)

    def stop(self, who: str = "ada", message: str = "") -> None:
        with transaction(self.db):
            service.request_stop(self.context, self.pipeline, who, message)


def pipeline(nodes: str, edges: str = "", parameters: str = "", name: str = "p") -> str:
    """The item of a pipeline; `nodes`, `edges` and `parameters` are lines of flow style YAML."""
    lines = [f"- pipeline:\n    name: {name}\n    nodes:"]
    lines += [f"      - {line.strip()}" for line in nodes.strip().splitlines()]
    lines.append("    edges:" if edges.strip() else "    edges: []")
    lines += [f"      - {line.strip()}" for line in edges.strip().splitlines()]
    if parameters:
        lines.append("    parameters:")
        lines += [f"      - {line.strip()}" for line in parameters.strip().splitlines()]
    return "\n".join(lines) + "\n"
