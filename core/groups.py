"""Groups of executions with a state of their own: tasks, and pipelines with their nodes. Conventions: `core.model`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.model import Change, Origin
from core.states import UNFINISHED, State


@dataclass(frozen=True, kw_only=True)
class Group:
    """What tasks and pipelines have in common.

    `config` contains the items of valohai.yaml that the group needs, as they were at creation. `parameters` are given
    values. `environment` overrides that of the steps. `ending` is the state that the group will get, once that is
    decided: no more executions are created, and the group ends when all have ended. `message` is the reason of `ending`
    or of the final state. `origin`, `client` and `changed` are as for an execution.
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
    ending: State | None
    message: str
    stop_requested_at: str | None
    stopped_by: str
    created_at: str
    started_at: str | None
    ended_at: str | None
    title: str = ""
    tags: tuple[str, ...] = ()
    origin: Origin = Origin.PUSH
    client: str = ""
    changed: tuple[Change, ...] = ()

    @property
    def status(self) -> str:
        return compute_group_status(self.state, self.stop_requested_at)


@dataclass(frozen=True, kw_only=True)
class Task(Group):
    """A set of executions created from one step by a search.

    `inputs` and `environment_variables` are given values for all its executions. `seed` makes random values
    reproducible. `planned` is the total number of executions.
    """

    pipeline_node_id: int | None
    step: str
    type: str
    inputs: Mapping[str, Any]
    environment_variables: Mapping[str, str]
    seed: int
    planned: int


class Pipeline(Group):
    """A graph of executions and tasks; each starts when its predecessors are complete."""


@dataclass(frozen=True, kw_only=True)
class PipelineNode:
    """A node; `kind` is "execution" or "task". `message` is the reason of its final state, or what it waits for.

    It waits for approval from `approval_asked_at` until `approved_at`; both are None again once it has started, since
    it may need a second approval to complete. `retries` counts how often it was restarted. A `skipped` node was stopped
    before it started. One with `source_id` has the run of that node of an earlier pipeline.
    """

    id: int
    uuid: str
    pipeline_id: int
    position: int
    name: str
    kind: str
    state: State
    skipped: bool
    message: str
    retries: int
    approval_asked_at: str | None
    approved_at: str | None
    approved_by: str
    started_at: str | None
    ended_at: str | None
    source_id: int | None = None


def compute_group_status(state: State, stop_requested_at: str | None) -> str:
    """Return the state of a task or pipeline as shown by the API: `stopping` from a stop request until its end."""
    return "stopping" if stop_requested_at and state in UNFINISHED else str(state)
