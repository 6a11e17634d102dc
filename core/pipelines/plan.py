"""A declared pipeline and the values asked for → what can be said of its run before it begins."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any

from core.pipelines.blueprint import PipelineBlueprint


@dataclass(frozen=True, kw_only=True)
class PipelinePlan:
    """A pipeline that can run. `config` has the items that it needs, `parameters` the values given for its parameters."""

    blueprint: PipelineBlueprint
    config: Any
    parameters: Mapping[str, Any]


def plan(
    config: Any, name: str, *, parameters: Mapping[str, Any] | None = None, provided: Container[str] = ()
) -> PipelinePlan:
    """The pipeline `name` with values for its parameters, in a project that has the variables `provided`.

    Raises NotFound for an unknown pipeline, and InvalidInput for one of which a node cannot run: every value that is
    known before the pipeline begins is checked.
    """
    raise NotImplementedError
