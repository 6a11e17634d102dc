"""Groups of executions that have a state of their own: tasks, and pipelines with their nodes. As in `core.model`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.states import UNFINISHED, State


@dataclass(frozen=True, kw_only=True)
class Task:
    """A set of executions made from one step by a search.

    `config` has the items of valohai.yaml that it needs: its own and its step's, as they were when it was made.
    `parameters`, `inputs` and `environment_variables` are values given for all its executions. `seed` makes what is
    drawn the same each time. `planned` is how many executions there will be. `environment` is instead of the step's
    own. `ending` is the state that it gets once its executions have ended, where that is decided before: nothing more of
    it is made. A `message` says why it ends, or ended, as it did.
    """

    id: int
    uuid: str
    project_id: int
    counter: int
    commit_id: int
    commit_identifier: str
    push_id: int | None
    pipeline_node_id: int | None
    name: str
    step: str
    type: str
    config: Any
    parameters: Mapping[str, Any]
    inputs: Mapping[str, Any]
    environment_variables: Mapping[str, str]
    environment: str
    priority: int
    why: str
    seed: int
    planned: int
    creator_id: int
    creator: str
    state: State
    ending: State | None
    message: str
    stop_requested_at: str | None
    stopped_by: str
    created_at: str
    started_at: str | None
    ended_at: str | None

    @property
    def status(self) -> str:
        return group_status(self.state, self.stop_requested_at)


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """A graph of executions and tasks, each begun when those before it are complete.

    `config` has the items of valohai.yaml that it needs, as they were when it was made; `parameters` the values given for
    parameters of the pipeline. `environment` is instead of the steps' own.
    """

    id: int
    uuid: str
    project_id: int
    counter: int
    commit_id: int
    commit_identifier: str
    push_id: int | None
    name: str
    config: Any
    parameters: Mapping[str, Any]
    environment: str
    priority: int
    why: str
    creator_id: int
    creator: str
    state: State
    message: str
    stop_requested_at: str | None
    stopped_by: str
    created_at: str
    started_at: str | None
    ended_at: str | None

    @property
    def status(self) -> str:
        return group_status(self.state, self.stop_requested_at)


@dataclass(frozen=True, kw_only=True)
class PipelineNode:
    """One node: `kind` is "execution" or "task". `message` says why it ended as it did, or what it waits for.

    It waits for a person from `approval_asked_at` until `approved_at`. `retries` are how often it was begun again.
    """

    id: int
    uuid: str
    pipeline_id: int
    position: int
    name: str
    kind: str
    state: State
    message: str
    retries: int
    approval_asked_at: str | None
    approved_at: str | None
    approved_by: str
    started_at: str | None
    ended_at: str | None


def group_status(state: State, stop_requested_at: str | None) -> str:
    """The state of a task or a pipeline as the API shows it: `stopping` while it has been asked to stop and has not."""
    return "stopping" if stop_requested_at and state in UNFINISHED else str(state)
