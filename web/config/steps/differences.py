"""Differences between the values of a launch and those that valohai.yaml declares."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from valohai_yaml.utils import listify

from core.model import Change
from core.units import format_limit
from web.config.steps.model import Step, StepParameter, to_declared_type
from web.config.steps.resolve import ResolvedStep

TEXT_CHARS = 200


def find_step_changes(declared: Step, parameters: Mapping[str, Any], resolved: ResolvedStep) -> Iterator[Change]:
    """Yield what differs between a declared step and a resolved one with these parameters."""
    for parameter in declared.parameters:
        if parameter.name in parameters:
            yield from find_change(parameter.name, _default(parameter), listify(parameters[parameter.name]))
    for item in declared.inputs:
        if item.name in resolved.inputs and not any("{parameter:" in url for url in item.default):
            yield from find_change(item.name, item.default, resolved.inputs[item.name].urls)
    defaults = {variable.name: variable.default for variable in declared.environment_variables}
    for name, value in resolved.environment_variables.items():
        yield from find_change(name, defaults.get(name), value)
    yield from find_change("image", declared.image, resolved.image)
    yield from find_change("command", declared.commands, resolved.step.commands)
    if declared.time_limit_s != resolved.time_limit_s:
        yield from find_change("time limit", _seconds(declared.time_limit_s), _seconds(resolved.time_limit_s))


def find_change(name: str, before: Any, after: Any) -> Iterator[Change]:
    """Yield the change of one value, nothing if it is the same or looks the same."""
    if before != after and (was := _text(before)) != (now := _text(after)):
        yield Change(name=name, before=was, after=now)


def _default(parameter: StepParameter) -> Sequence[Any]:
    default = False if parameter.default is None and parameter.type == "flag" else parameter.default
    return [to_declared_type(parameter.type, item) if parameter.type != "flag" else item for item in listify(default)]


def _seconds(limit: float | None) -> str:
    return format_limit(limit) if limit else ""


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))[:TEXT_CHARS]
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)[:TEXT_CHARS]
