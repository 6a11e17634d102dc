"""Fields of a pipeline's parameters. Their types are those of the steps' parameters that they are passed to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from web.config.forms.fields import Control, Field, make_parameter_field
from web.config.pipelines.blueprint import load_pipeline
from web.config.pipelines.model import Node, PipelineBlueprint, PipelineParameter
from web.config.steps.model import StepParameter, load_step

UNDECLARED = StepParameter(
    name="", type="string", default=None, optional=True, multiple=None, choices=None, min=None, max=None,
    description="", category="", widget="",
)  # fmt: skip


def iterate_pipeline_fields(config: Any, name: str) -> Iterator[Field]:
    """Yield the fields of a pipeline. Raises NotFound and CannotRun."""
    blueprint = load_pipeline(config, name)
    for parameter in blueprint.parameters:
        yield _field(blueprint, parameter)


def _field(blueprint: PipelineBlueprint, parameter: PipelineParameter) -> Field:
    node, target = _target(blueprint, parameter)
    own = replace(target, name=parameter.name, default=parameter.default, category=parameter.category,
                  description=parameter.description or target.description,
                  optional=parameter.default is None)  # fmt: skip
    field = make_parameter_field(own)
    if parameter.default is None and target.default is not None:
        field = replace(field, notes=", ".join(filter(None, (field.notes, "without a value, each node has its own"))))
    if parameter.default is None and field.control is Control.FLAG:
        answers = (("", "as each node says"), ("true", "true"), ("false", "false"))
        return replace(field, control=Control.SELECT, default=(), values=(), choices=answers)
    if node is not None and node.kind == "task" and field.control in (Control.TEXT, Control.SELECT):
        allowed = f"of {', '.join(value for value, _ in field.choices)}" if field.choices else ""
        notes = ", ".join(filter(None, (field.notes, allowed, "several lines are tried one by one")))
        return replace(field, control=Control.EACH, notes=notes, choices=())
    return field


def _target(blueprint: PipelineBlueprint, parameter: PipelineParameter) -> tuple[Node | None, StepParameter]:
    """Return the first parameter of a step that a pipeline's parameter is passed to, and its node."""
    for name, key in parameter.targets:
        node = blueprint.node(name)
        for declared in load_step([node.step], node.step_name).parameters:
            if declared.name == key:
                return node, declared
    return None, UNDECLARED
