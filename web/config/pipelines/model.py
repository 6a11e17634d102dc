"""A pipeline that a valohai.yaml declares, limited to what this server supports.

A pipeline's row keeps the items of valohai.yaml that it needs, so a later push does not change a running pipeline.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class OnError(StrEnum):
    """Effect of a node's error on its pipeline."""

    STOP_ALL = "stop-all"  # the other nodes are stopped, and the pipeline ends in error
    STOP_NEXT = "stop-next"  # later nodes are skipped, the others continue; then the pipeline ends in error
    CONTINUE = "continue"  # as if it were complete
    RETRY = "retry"  # run again once with the same values, then as stop-all


@dataclass(frozen=True, kw_only=True)
class NodeAction:
    """If one of the events `when` happens and all `conditions` hold, do `then`."""

    when: tuple[str, ...]
    conditions: tuple[str, ...]
    then: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Node:
    """A node; `kind` is "execution" or "task".

    `step` is its step after the override, as an item of a valohai.yaml; `task` is the name of a declared task, "" for
    none. With `appends`, files from edges are added to the inputs' defaults instead of replacing them.
    """

    name: str
    kind: str
    step: Mapping[str, Any]
    task: str
    actions: tuple[NodeAction, ...]
    on_error: OnError
    appends: bool

    @property
    def step_name(self) -> str:
        return str(self.step["step"]["name"])


@dataclass(frozen=True, kw_only=True)
class Edge:
    """An edge. Types are singular: output, input, parameter, metadata, environment-variable, dependency."""

    source: str
    source_type: str
    source_key: str
    target: str
    target_type: str
    target_key: str

    @property
    def text(self) -> str:
        return (
            f"{self.source}.{self.source_type}.{self.source_key} → {self.target}.{self.target_type}.{self.target_key}"
        )


@dataclass(frozen=True, kw_only=True)
class PipelineParameter:
    """A pipeline parameter; `targets` are (node, parameter of its step) pairs."""

    name: str
    default: Any
    targets: tuple[tuple[str, str], ...]
    description: str
    category: str


@dataclass(frozen=True, kw_only=True)
class PipelineBlueprint:
    """A pipeline; nodes are in file order, edges have no cycle. `notes` are sentences about keys without effect.

    With `reuses`, a node gets the run of an equal node of an earlier pipeline, if there is one.
    """

    name: str
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    parameters: tuple[PipelineParameter, ...]
    notes: tuple[str, ...]
    reuses: bool = False

    @property
    def arrows(self) -> frozenset[tuple[str, str]]:
        """The (source, target) pair of every edge."""
        return frozenset((edge.source, edge.target) for edge in self.edges)

    def node(self, name: str) -> Node:
        return next(node for node in self.nodes if node.name == name)

    def edges_into(self, name: str) -> tuple[Edge, ...]:
        return tuple(edge for edge in self.edges if edge.target == name)
