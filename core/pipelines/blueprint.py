"""A pipeline that a stored configuration declares, checked: its nodes, edges, parameters and actions."""

from __future__ import annotations

from typing import Any

from core.pipelines.model import Action, Edge, Node, OnError, PipelineBlueprint, PipelineParameter

__all__ = [
    "Action",
    "Edge",
    "Node",
    "OnError",
    "PipelineBlueprint",
    "PipelineParameter",
    "load_pipeline",
    "pipeline_names",
]


def pipeline_names(config: Any) -> tuple[str, ...]:
    """The names of the pipelines of a stored configuration, in file order."""
    raise NotImplementedError


def load_pipeline(config: Any, name: str) -> PipelineBlueprint:
    """The pipeline `name` of a stored configuration. Raises NotFound, and InvalidInput for one that cannot run here."""
    raise NotImplementedError
