"""Check a pipeline with given values before it starts, and select the configuration items that it needs."""

from __future__ import annotations

from collections.abc import Collection, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.errors import CannotRun, InvalidInput, Problem
from core.names import explain_unknown_name
from web.config.pipelines.blueprint import PROBLEMS, load_pipeline, map_pipeline_bodies
from web.config.pipelines.model import Node, PipelineBlueprint
from web.config.steps.model import map_step_items
from web.config.steps.resolve import PLACEHOLDER, resolve
from web.config.tasks import plan as tasks
from web.config.tasks.blueprint import get_task_item


@dataclass(frozen=True, kw_only=True)
class PipelinePlan:
    """A pipeline that can run. `config` contains the items that it needs, `parameters` the given parameter values."""

    blueprint: PipelineBlueprint
    config: Any
    parameters: Mapping[str, Any]


def plan(
    config: Any,
    name: str,
    *,
    parameters: Mapping[str, Any] | None = None,
    provided: Container[str] = (),
    reused: Container[str] = (),
) -> PipelinePlan:
    """Plan the pipeline `name` with values for its parameters, in a project with the variables `provided`.

    Nodes in `reused` do not run again.

    Raises NotFound for an unknown pipeline, and InvalidInput if one of its nodes cannot run: every value that is known
    before the pipeline starts is checked.
    """
    blueprint = load_pipeline(config, name)
    given = {key: value for key, value in (parameters or {}).items() if value is not None}
    known = [parameter.name for parameter in blueprint.parameters]
    problems: list[str] = [
        Problem(explain_unknown_name("pipeline parameter", key, known), "parameters", key, "does_not_exist")
        for key in given
        if key not in known
    ]
    needed = _needed(config, blueprint)
    for node in blueprint.nodes:
        if node.name in reused:
            continue
        try:
            _try(needed, blueprint, node, given, provided)
        except InvalidInput as error:
            problems.append(f'node "{node.name}": {explain_cannot_run(error)}')
    if problems:
        raise CannotRun(f'pipeline "{name}"', problems[:PROBLEMS])
    return PipelinePlan(blueprint=blueprint, config=needed, parameters=given)


def resolve_parameter_values(blueprint: PipelineBlueprint, node: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the pipeline parameters' values for the parameters of a node's step: the given value, else the default.

    None means no value.
    """
    values: dict[str, Any] = {}
    for parameter in blueprint.parameters:
        value = given.get(parameter.name, parameter.default)
        if value is not None:
            values |= {key: value for target, key in parameter.targets if target == node}
    return values


def build_task_items(
    config: Any, node: Node, variants: Mapping[str, Sequence[Any]], step: Mapping[str, Any] | None = None
) -> tuple[list[dict[str, Any]], str]:
    """Return the items of a valohai.yaml that declare the task of a node, and the task's name.

    The values of `variants` are tried one by one and replace those of the declared task. A node without a declared task
    is a grid search over `variants` only. `step` replaces the node's step.
    """
    declared: dict[str, Any] = {"name": node.name, "type": "grid_search"}
    if node.task:
        declared = get_task_item(config, node.task)["task"]
    task = {**tasks.apply_variants(declared, variants), "step": node.step_name}
    return [{"step": dict(step or node.step["step"])}, {"task": task}], str(task["name"])


def explain_cannot_run(error: InvalidInput) -> str:
    """Return why a step or a task cannot run, without its name."""
    return "; ".join(error.problems) if isinstance(error, CannotRun) else str(error)


def _needed(config: Any, blueprint: PipelineBlueprint) -> list[dict[str, Any]]:
    """Return the items of the pipeline and of the steps and tasks that its nodes name."""
    steps = map_step_items(config)
    return [
        *(steps[name] for name in dict.fromkeys(node.step_name for node in blueprint.nodes)),
        *(get_task_item(config, name) for name in dict.fromkeys(node.task for node in blueprint.nodes) if name),
        {"pipeline": map_pipeline_bodies(config)[blueprint.name]},
    ]


def _try(
    config: Any, blueprint: PipelineBlueprint, node: Node, given: Mapping[str, Any], provided: Container[str]
) -> None:
    """Raise InvalidInput if the node cannot run, independently of the values from its edges."""
    fed = {
        kind: {edge.target_key for edge in blueprint.edges_into(node.name) if edge.target_type == kind}
        for kind in ("input", "parameter", "environment-variable")
    }
    step = _without_needs(node, fed["input"], fed["parameter"], fed["environment-variable"])
    values = resolve_parameter_values(blueprint, node.name, given)
    if node.kind == "task":
        items, name = build_task_items(config, node, {}, step)
        tasks.plan(items, name, parameters=values, provided=provided)
    else:
        resolve([{"step": step}], node.step_name, parameters=values, provided=provided)


def _without_needs(
    node: Node, inputs: Collection[str], parameters: Collection[str], variables: Collection[str]
) -> dict[str, Any]:
    """Return the body of the node's step, with items fed by edges optional and without the defaults they replace."""
    body: dict[str, Any] = dict(node.step["step"])
    if parameters:
        body["parameters"] = [_optional(item, item["name"] in parameters) for item in body.get("parameters", ())]
    if variables:
        body["environment-variables"] = [
            _optional(item, item["name"] in variables) for item in body.get("environment-variables", ())
        ]
    body["inputs"] = [
        _optional(
            item,
            item["name"] in inputs or _names(item, parameters),
            keep_default=node.appends and not _names(item, parameters),
        )
        for item in body.get("inputs", ())
    ]
    return body


def _optional(item: Mapping[str, Any], fed: bool, *, keep_default: bool = False) -> dict[str, Any]:
    if not fed:
        return dict(item)
    kept = item if keep_default else {key: value for key, value in item.items() if key != "default"}
    return {**kept, "optional": True}


def _names(item: Mapping[str, Any], parameters: Collection[str]) -> bool:
    """Return whether an input's URLs contain a placeholder for one of these parameters."""
    return any(name in parameters for name in PLACEHOLDER.findall(str(item.get("default", ""))))
