"""A pipeline that a stored configuration declares, checked: its nodes, edges, parameters and actions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class OnError(StrEnum):
    """What a node that ended in error means for its pipeline."""

    STOP_ALL = "stop-all"
    STOP_NEXT = "stop-next"
    CONTINUE = "continue"
    RETRY = "retry"


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


@dataclass(frozen=True, kw_only=True)
class Edge:
    """Types are singular: output, input, parameter, metadata, environment-variable, dependency."""

    source: str
    source_type: str
    source_key: str
    target: str
    target_type: str
    target_key: str


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


def pipeline_names(config: Any) -> tuple[str, ...]:
    """The names of the pipelines of a stored configuration, in file order."""
    raise NotImplementedError


def load_pipeline(config: Any, name: str) -> PipelineBlueprint:
    """The pipeline `name` of a stored configuration. Raises NotFound, and InvalidInput for one that cannot run here."""
    raise NotImplementedError
