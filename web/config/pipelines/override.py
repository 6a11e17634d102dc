"""The step of a node: a declared step with the node's override."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import valohai_yaml

from core.errors import InvalidInput
from web.config.steps.property_rules import find_step_problems
from web.config.steps.unused import find_unused_keys

REPLACED = ("image", "command", "environment", "mounts", "autorestart", "runtime-config-preset",
            "time-limit", "no-output-timeout")  # fmt: skip
MERGED = ("parameters", "inputs", "environment-variables")
KINDS = {"parameters": "parameter", "inputs": "input", "environment-variables": "environment variable"}


def apply_override(step: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body of a step with an override. Raises InvalidInput if the result is not a step that can run.

    An override that names an item without a default removes the default: that is how a pipeline drops a step's own
    data. Everything that the override does not mention stays as in the step.
    """
    merged = {**step, **{key: override[key] for key in REPLACED if key in override}}
    for key in MERGED:
        if key in override:
            merged[key] = _by_name(step.get(key, ()), override[key])
    problems = [*find_step_problems(merged)]
    if problems:
        raise InvalidInput("; ".join(problems))
    try:
        valohai_yaml.parse([{"step": merged}], validate=False)
    except Exception as error:  # noqa: BLE001 - the library raises nine unrelated classes on bad input
        raise InvalidInput(f"its override cannot be used: {type(error).__name__}: {error!s:.200}") from None
    return merged


def find_override_mistakes(step: Mapping[str, Any], override: Mapping[str, Any]) -> Iterator[str]:
    """Yield sentences about items of an override that the step lacks or that have no effect: likely mistakes."""
    yield from (f"its override: {key} has no effect: {reason}" for key, reason in find_unused_keys(override))
    for key, kind in KINDS.items():
        known = {item["name"] for item in step.get(key, ())}
        for item in override.get(key, ()):
            if item["name"] not in known:
                yield f'its override names the {kind} "{item["name"]:.80}", which its step does not have'


def _by_name(declared: Any, instead: Any) -> list[dict[str, Any]]:
    items = {item["name"]: item for item in declared}
    for item in instead:
        kept = {key: value for key, value in items.get(item["name"], {}).items() if key != "default"}
        items[item["name"]] = kept | item
    return list(items.values())
