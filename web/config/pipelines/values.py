"""What edges carry from one node to the next, as values of the step that they lead to."""

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
class Values:
    """What a node gets beyond its step's defaults.

    `variants` are parameters of a task's step with the values to be tried one after the other. `notes` say what edges
    did not bring.
    """

    parameters: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, list[str]] = field(default_factory=dict)
    environment_variables: dict[str, str] = field(default_factory=dict)
    variants: dict[str, list[Any]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add_files(self, node: Node, edge: Edge, urls: Iterable[str]) -> None:
        """Each file once, behind what other edges brought and, if the node says so, behind the defaults."""
        key = edge.target_key
        if key not in self.inputs:
            default = sockets.declared(node, "input")[key].get("default") if node.appends else None
            self.inputs[key] = [str(url) for url in listify(default)]
        before = len(self.inputs[key])
        self.inputs[key] = list(dict.fromkeys([*self.inputs[key], *urls]))
        if len(self.inputs[key]) == before:
            self.notes.append(f"{sockets.shown(edge)} brings no file")

    def add_value(self, node: Node, edge: Edge, value: Any) -> None:
        """None is no value. A list is tried value by value by a task; a `multiple` parameter takes a flat one whole."""
        key = edge.target_key
        if value is None:
            self.notes.append(f"{sockets.shown(edge)} brings no value")
        elif edge.target_type == "environment-variable":
            self.environment_variables[key] = value if isinstance(value, str) else json.dumps(value)
        elif node.kind == "task" and isinstance(value, list) and _spreads(node, key, value):
            self.parameters.pop(key, None)
            self.variants[key] = value
        else:
            self.parameters[key] = value


def _spreads(node: Node, parameter: str, value: Sequence[Any]) -> bool:
    multiple = sockets.declared(node, "parameter")[parameter].get("multiple", "none") != "none"
    return not multiple or (bool(value) and all(isinstance(item, list) for item in value))


def one_or_all(values: Sequence[Any]) -> Any:
    """A value that all share, else the list of them; None when there is none."""
    different = [value for at, value in enumerate(values) if value is not None and value not in values[:at]]
    return different[0] if len(different) == 1 else different or None


def matcher(pattern: str) -> Callable[[str], bool]:
    """Whether a file's path below the outputs' directory is meant: `*` matches `/` too.

    A pattern without `/` may also match the last part of the path alone.
    """
    matches = re.compile(fnmatch.translate(pattern)).match
    if "/" in pattern:
        return lambda name: name == pattern or matches(name) is not None
    return lambda name: name == pattern or any(matches(part) for part in (name, name.rpartition("/")[2]))
