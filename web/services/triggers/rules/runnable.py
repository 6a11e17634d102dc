"""The targets that a configuration declares, for each kind: their names, their parameters and their plans."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Set
from dataclasses import dataclass
from enum import Enum
from typing import Any

from core.model import Target, TargetKind
from web.config.pipelines import blueprint as pipeline_blueprint
from web.config.pipelines import plan as pipeline_plan
from web.config.pipelines.model import Node
from web.config.pipelines.plan import PipelinePlan
from web.config.steps.model import load_library_step, map_step_items
from web.config.steps.resolve import ResolvedStep, resolve
from web.config.tasks import blueprint as task_blueprint
from web.config.tasks import plan as task_plan
from web.config.tasks.plan import TaskPlan

Plan = ResolvedStep | TaskPlan | PipelinePlan


class Takes(Enum):
    """Values that a parameter takes: one, a list, or one or several to be tried one after the other."""

    ONE, LIST, EACH = range(3)


@dataclass(frozen=True, kw_only=True)
class RunnableKind:
    """Functions for one kind of target. All take a stored configuration, and all except `names` a target's name.

    `takes` returns the parameters that may be given; `plan` also takes `parameters` and the project's variables
    `provided`. Both raise NotFound, and InvalidInput for targets that cannot run.
    """

    names: Callable[[Any], Collection[str]]
    takes: Callable[[Any, str], Mapping[str, Takes]]
    plan: Callable[..., Plan]


def _of_step(config: Any, name: str, one: Takes = Takes.ONE) -> Mapping[str, Takes]:
    parameters = load_library_step(config, name).parameters.values()
    return {parameter.name: Takes.LIST if parameter.multiple else one for parameter in parameters}


def _of_task(config: Any, name: str) -> Mapping[str, Takes]:
    return _of_step(config, task_blueprint.load_task(config, name).step, Takes.EACH)


def _of_pipeline(config: Any, name: str) -> Mapping[str, Takes]:
    blueprint = pipeline_blueprint.load_pipeline(config, name)
    reached = {node for parameter in blueprint.parameters for node, _ in parameter.targets}
    steps = {node.name: _of_node(node) for node in blueprint.nodes if node.name in reached}
    return {
        parameter.name: _common({steps[node].get(key, Takes.ONE) for node, key in parameter.targets})
        for parameter in blueprint.parameters
    }


def _of_node(node: Node) -> Mapping[str, Takes]:
    return _of_step([node.step], node.step_name, Takes.EACH if node.kind == "task" else Takes.ONE)


def _common(takes: Set[Takes]) -> Takes:
    """Return what a pipeline's parameter takes if the parameters that it is passed to take these."""
    if Takes.ONE in takes:
        return Takes.ONE
    return Takes.EACH if Takes.EACH in takes else Takes.LIST


# In launch order.
KINDS = {
    TargetKind.STEP: RunnableKind(names=map_step_items, takes=_of_step, plan=resolve),
    TargetKind.TASK: RunnableKind(names=task_blueprint.list_task_names, takes=_of_task, plan=task_plan.plan),
    TargetKind.PIPELINE: RunnableKind(
        names=pipeline_blueprint.list_pipeline_names, takes=_of_pipeline, plan=pipeline_plan.plan
    ),
}


@dataclass(frozen=True, kw_only=True)
class Declared:
    """A declared target with its description in valohai.yaml."""

    target: Target
    description: str
    category: str


def list_described_targets(config: Any) -> list[Declared]:
    """Return all targets of a stored configuration with their descriptions."""
    keys = {TargetKind.STEP: ("step",), TargetKind.TASK: ("task",), TargetKind.PIPELINE: ("pipeline", "blueprint")}
    bodies = {(kind, item[key]["name"]): item[key] for item in config or () for kind, names in keys.items()
              for key in names if key in item}  # fmt: skip
    found = [(target, bodies[target.kind, target.name]) for target in list_declared_targets(config)]
    return [
        Declared(target=target, description=body.get("description") or "", category=body.get("category") or "")
        for target, body in found
    ]


def list_declared_targets(config: Any) -> list[Target]:
    """Return all targets of a stored configuration, in the order in which statuses get their names."""
    return [Target(kind=kind, name=name) for kind, found in KINDS.items() for name in found.names(config)]
