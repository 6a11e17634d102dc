"""Describe for a dry run what would be launched, in which environment and with which values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from core.model import Environment, Project, Target, TargetKind
from web.config.pipelines.blueprint import Node, PipelineBlueprint
from web.config.pipelines.plan import PipelinePlan
from web.config.steps.model import load_step
from web.config.steps.resolve import ResolvedStep
from web.config.tasks.plan import TaskPlan
from web.services.executions import environments
from web.services.triggers.rules import Chosen


@dataclass(frozen=True, kw_only=True)
class Executions:
    """The executions of a step that a task would create; `search` is the type of the task."""

    count: int
    step: str
    search: str
    varied: tuple[str, ...]

    def __str__(self) -> str:
        varying = f", varying {', '.join(self.varied)}" if self.varied else ""
        executions = f"{self.count} execution{'' if self.count == 1 else 's'}"
        return f"{executions} of step {self.step} by {self.search.replace('_', ' ')}{varying}"


@dataclass(frozen=True, kw_only=True)
class PlannedNode:
    """A node of a pipeline. `runs` is the label of its step or task."""

    name: str
    runs: str

    def __str__(self) -> str:
        return self.name if self.name == self.runs else f"{self.name} ({self.runs})"


@dataclass(frozen=True, kw_only=True)
class Nodes:
    """The nodes of a pipeline, in file order."""

    nodes: tuple[PlannedNode, ...]

    def __str__(self) -> str:
        return f"nodes {', '.join(map(str, self.nodes))}"


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """A run that would be launched. `makes` describes what a task or pipeline would create; None for a step.

    A task's `parameters` are those that are the same in all its executions. `environment` is "" for a pipeline whose
    steps keep their own. `notes` are the notes that would appear in logs.
    """

    target: Target
    makes: Executions | Nodes | None
    parameters: Mapping[str, Any]
    environment: str
    priority: int
    rule: str
    notes: tuple[str, ...]


def preview_plan(known: Mapping[str, Environment], project: Project, chosen: Chosen) -> PlannedRun:
    """Describe one chosen target, with the environments as they are now, by name."""
    makes: Executions | Nodes | None = None
    match chosen.plan:
        case ResolvedStep() as step:
            parameters = step.parameters
            environment, notes = _environment(known, project, chosen, step.environment, step.image)
        case TaskPlan(blueprint=task, first=step) as plan:
            makes = Executions(count=plan.count, step=task.step, search=task.type, varied=_varied(plan))
            parameters = {name: value for name, value in step.parameters.items() if name not in makes.varied}
            environment, notes = _environment(known, project, chosen, step.environment, step.image)
            notes += task.notes
        case PipelinePlan(blueprint=pipeline) as plan:
            makes = Nodes(nodes=tuple(PlannedNode(name=node.name, runs=_label(node)) for node in pipeline.nodes))
            declared = {parameter.name: parameter.default for parameter in pipeline.parameters}
            parameters = {name: value for name, value in {**declared, **plan.parameters}.items() if value is not None}
            environment, notes = chosen.environment, (*_of_nodes(known, project, chosen, pipeline), *pipeline.notes)
    return PlannedRun(
        target=chosen.target,
        makes=makes,
        parameters=parameters,
        environment=environment,
        priority=chosen.rule.priority,
        rule=chosen.rule.name,
        notes=notes,
    )


def _environment(
    known: Mapping[str, Environment], project: Project, chosen: Chosen, own: str | None, image: str
) -> tuple[str, tuple[str, ...]]:
    """Return the environment in which an image would run, and notes on it."""
    environment, note = environments.choose(known, project, chosen.environment or own)
    refusal = environments.explain_project_refusal(project, environment) or environments.explain_image_refusal(
        environment, image
    )
    return environment.slug, tuple(filter(None, (note, refusal)))


def _varied(plan: TaskPlan) -> tuple[str, ...]:
    """Return the parameters that differ between executions of a task."""
    names = [variant.name for variant in plan.blueprint.variants if variant.style != "single"]
    names += [name for values in plan.blueprint.parameter_sets for name in values]
    return tuple(dict.fromkeys(name for name in names if name not in plan.parameters))


def _label(node: Node) -> str:
    return Target(kind=TargetKind.TASK, name=node.task).label if node.task else node.step_name


def _of_nodes(
    known: Mapping[str, Environment], project: Project, chosen: Chosen, pipeline: PipelineBlueprint
) -> Iterator[str]:
    """Yield the notes on the environment of each node."""
    for node in pipeline.nodes:
        step = load_step([node.step], node.step_name)
        _, notes = _environment(known, project, chosen, step.environment, step.image)
        yield from (f"{node.name}: {note}" for note in notes)
