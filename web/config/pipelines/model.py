"""A pipeline that a valohai.yaml declares, as far as this server runs it.

A pipeline's row keeps the items of valohai.yaml that it needs, so a later push does not change a running pipeline.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class OnError(StrEnum):
    """What a node that ended in error means for its pipeline."""

    STOP_ALL = "stop-all"  # the rest is stopped, and the pipeline ends in error
    STOP_NEXT = "stop-next"  # what comes after it is skipped, the rest goes on; then the pipeline ends in error
    CONTINUE = "continue"  # as if it were complete
    RETRY = "retry"  # once more with the same values, then as stop-all


@dataclass(frozen=True, kw_only=True)
class Action:
    """When one of `when` happens and all of `conditions` hold, do `then`."""

    when: tuple[str, ...]
    conditions: tuple[str, ...]
    then: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Node:
    """`kind` is "execution" or "task". `step` is its step after the override, as an item of a valohai.yaml; `task` the
    name of a declared task, "" for none. With `appends` what edges bring goes behind the inputs' defaults.
    """

    name: str
    kind: str
    step: Mapping[str, Any]
    task: str
    actions: tuple[Action, ...]
    on_error: OnError
    appends: bool

    @property
    def step_name(self) -> str:
        return str(self.step["step"]["name"])


@dataclass(frozen=True, kw_only=True)
class Edge:
    """Types are singular: output, input, parameter, metadata, environment-variable, dependency."""

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
    """`targets` are (node, parameter of its step)."""

    name: str
    default: Any
    targets: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class PipelineBlueprint:
    """Nodes in file order; the edges have no cycle. `notes` are sentences about keys that have no effect here."""

    name: str
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    parameters: tuple[PipelineParameter, ...]
    notes: tuple[str, ...]

    @property
    def arrows(self) -> frozenset[tuple[str, str]]:
        """(source, target) of every edge."""
        return frozenset((edge.source, edge.target) for edge in self.edges)

    def node(self, name: str) -> Node:
        return next(node for node in self.nodes if node.name == name)

    def edges_into(self, name: str) -> tuple[Edge, ...]:
        return tuple(edge for edge in self.edges if edge.target == name)
