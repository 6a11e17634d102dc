"""Values that edges carry from one node to the next, as values of the target's step."""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from valohai_yaml.utils import listify

from web.config.pipelines import sockets
from web.config.pipelines.model import Edge, Node


@dataclass
class NodeValues:
    """Values that a node gets in addition to its step's defaults.

    `variants` are parameters of a task's step with values to try one by one. `notes` report edges that provided
    nothing.
    """

    parameters: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, list[str]] = field(default_factory=dict)
    environment_variables: dict[str, str] = field(default_factory=dict)
    variants: dict[str, list[Any]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add_files(self, node: Node, edge: Edge, urls: Iterable[str]) -> None:
        """Add each file once, after those of other edges and, if the node says so, after the defaults."""
        key = edge.target_key
        if key not in self.inputs:
            default = sockets.map_declared_sockets(node, "input")[key].get("default") if node.appends else None
            self.inputs[key] = [str(url) for url in listify(default)]
        before = len(self.inputs[key])
        self.inputs[key] = list(dict.fromkeys([*self.inputs[key], *urls]))
        if len(self.inputs[key]) == before:
            self.notes.append(f"{sockets.format_edge(edge)} provides no file")

    def add_value(self, node: Node, edge: Edge, value: Any) -> None:
        """Add a value; None means no value.

        A task tries the items of a list one by one; a `multiple` parameter takes a flat list as a whole.
        """
        key = edge.target_key
        if value is None:
            self.notes.append(f"{sockets.format_edge(edge)} provides no value")
        elif edge.target_type == "environment-variable":
            self.environment_variables[key] = value if isinstance(value, str) else json.dumps(value)
        elif node.kind == "task" and isinstance(value, list) and _spreads(node, key, value):
            self.parameters.pop(key, None)
            self.variants[key] = value
        else:
            self.parameters[key] = value


def _spreads(node: Node, parameter: str, value: Sequence[Any]) -> bool:
    multiple = sockets.map_declared_sockets(node, "parameter")[parameter].get("multiple", "none") != "none"
    return not multiple or (bool(value) and all(isinstance(item, list) for item in value))


def merge_values(values: Sequence[Any]) -> Any:
    """Return the value if all are equal, otherwise the list of different ones; None if there is none."""
    different = [value for at, value in enumerate(values) if value is not None and value not in values[:at]]
    return different[0] if len(different) == 1 else different or None


def make_matcher(pattern: str) -> Callable[[str], bool]:
    """Return a function that checks whether a path below the outputs' directory matches; `*` matches `/` too.

    A pattern without `/` may also match only the last part of the path.
    """
    matches = re.compile(fnmatch.translate(pattern)).match
    if "/" in pattern:
        return lambda name: name == pattern or matches(name) is not None
    return lambda name: name == pattern or any(matches(part) for part in (name, name.rpartition("/")[2]))
