"""Effects of a node's actions when it starts, completes or fails."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from web.config import conditions
from web.config.pipelines.model import Node, NodeAction


@dataclass(frozen=True, kw_only=True)
class Effects:
    """Effects on the pipeline: `stops` and `fails` say why it must stop or end in error, "" if it need not."""

    stops: str = ""
    fails: str = ""
    approval: bool = False


NOTHING = Effects()


def compute_effects(node: Node, when: str, values: Callable[[Collection[str]], Mapping[str, Any]]) -> Effects:
    """Return the effects of the node's actions at `when`; `values` looks up the names used in their conditions."""
    due = [action for action in node.actions if when in action.when]
    if not due:
        return NOTHING
    wanted = {
        name for action in due for condition in action.conditions for name in conditions.list_variable_names(condition)
    }
    known = values(wanted) if wanted else {}
    met = [action for action in due if all(conditions.evaluate(condition, known) for condition in action.conditions)]
    return Effects(
        stops=_sentence(node, met, "stop-pipeline", "stopped"),
        fails=_sentence(node, met, "error-pipeline", "failed"),
        approval=any("require-approval" in action.then for action in met),
    )


def _sentence(node: Node, met: list[NodeAction], then: str, verb: str) -> str:
    for action in met:
        if then in action.then:
            why = " and ".join(action.conditions) or f"it is {' or '.join(action.when)}"
            return f"{verb} by an action of {node.name}: {why}"[:500]
    return ""
