"""Items of a valohai.yaml from the body of `POST /tasks/`, which describes a search instead of naming a task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, NotRequired, TypedDict

from msgspec import Meta

from core.model import TargetKind
from web.config.overrides import make_unknown_target_problem
from web.config.steps.json_schema import describe_schema_errors, list_schema_errors
from web.config.steps.model import map_step_items
from web.http.api.body import Fields

CONFIGURATION = (
    *("execution_count", "execution_batch_size", "optimization_target_metric", "optimization_target_value", "engine"),
)
# Keys of a body, or of a template in a pipeline, by the key of valohai.yaml.
OF_TASK = {
    "maximum-queued-executions": "maximum_queued_executions",
    "on-child-error": "on_child_error",
    "stop-condition": "task_stop_expression",
    "reuse-children": "allow_reuse",
}
SHOWN = 5


class Search(TypedDict):
    """How a task varies the parameters of a step, as in valohai.yaml."""

    type: NotRequired[Annotated[str | None, Meta(description="Such as grid_search, which is the default.")]]
    configuration: NotRequired[dict[str, Any] | None]
    maximum_queued_executions: NotRequired[int | None]
    on_child_error: NotRequired[str | None]
    task_stop_expression: NotRequired[str | None]
    allow_reuse: NotRequired[bool | None]


class SearchedStep(Search):
    """A search with the values of its step."""

    parameters: NotRequired[dict[str, Any] | None]


def build_task_items(config: Any, step: str, body: Fields[SearchedStep]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the items of a task of `step`, named like it, and its parameters of one value.

    Problems are added to the body.
    """
    given = body.values
    if step not in map_step_items(config):
        body.problems.append(make_unknown_target_problem(TargetKind.STEP, step, map_step_items(config)))
        return [], {}
    varied, single = split_parameters(given.get("parameters") or {})
    task = build_task(step, step, given.get("type") or "", varied, given.get("configuration") or {})
    for key, field in OF_TASK.items():
        value = given.get(field)
        if value is not None and value != "":
            task[key] = value.replace("_", "-") if key == "on-child-error" and isinstance(value, str) else value
    check_items([{"task": task}], body)
    return [map_step_items(config)[step], {"task": task}], single


def build_task(
    name: str, step: str, kind: str, varied: Mapping[str, Any], configuration: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a task as in valohai.yaml; `varied` are style and rules by parameter."""
    given = {key.replace("_", "-"): configuration.get(key) for key in CONFIGURATION}
    return {
        "name": name,
        "step": step,
        "type": (kind or "grid_search").lower(),
        "parameters": [
            {"name": key, "style": value.get("style"), "rules": _without_null(value.get("rules") or {})}
            for key, value in varied.items()
        ],
    } | {key: value for key, value in given.items() if value is not None}


def _without_null(rules: Any) -> Any:
    return {key: value for key, value in rules.items() if value is not None} if isinstance(rules, Mapping) else rules


def split_parameters(given: Mapping[str, Any]) -> tuple[dict[str, Mapping[str, Any]], dict[str, Any]]:
    """Return the parameters with several values, by style and rules, and the values of the others; null is not set."""
    varied, single = {}, {}
    for name, value in given.items():
        if not isinstance(value, Mapping):
            single[name] = value
        elif value.get("style") == "single":
            single[name] = (value.get("rules") or {}).get("value") if isinstance(value.get("rules"), Mapping) else None
        else:
            varied[name] = value
    return varied, {name: value for name, value in single.items() if value is not None}


def check_items(items: list[dict[str, Any]], body: Fields[object]) -> None:
    """Add what violates the schema of valohai.yaml to the problems of the body."""
    for message in describe_schema_errors(list_schema_errors(items))[:SHOWN]:
        body.add(" ".join(message.split())[:500], "")
