"""Parse edges and targets, and check that their ends exist."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from core.errors import InvalidInput
from core.names import explain_unknown_name
from web.config.pipelines.model import Edge, Node

SHOWN_CHARS = 200
KEY_CHARS = 500
# Public files use the plural too, as do the vendor's own examples.
SINGULAR = {
    "outputs": "output", "inputs": "input", "parameters": "parameter", "files": "file", "dependencies": "dependency",
    "environment-variables": "environment-variable",
}  # fmt: skip
SERVING = ("file", "deployment")
# Allowed sources by target; a dependency, which only sets the order, accepts any source.
SOURCES = {
    "input": ("output", "input"),
    "parameter": ("parameter", "metadata"),
    "environment-variable": ("parameter", "metadata", "environment-variable"),
    "dependency": ("output", "input", "parameter", "metadata", "environment-variable", "dependency"),
}
SINGLE = ("parameter", "environment-variable")  # hold one value, so they accept one edge
KEYS = {"input": "inputs", "parameter": "parameters", "environment-variable": "environment-variables"}


def parse_socket(text: str) -> tuple[str, str, str]:
    """Return node, type in the singular, and key, which is the only part with dots. Raises InvalidInput."""
    parts = text.split(".", 2)
    if len(parts) != 3 or not all(parts):
        raise InvalidInput(f"{text!r:.200} is not NODE.TYPE.NAME")
    return parts[0], SINGULAR.get(parts[1], parts[1]), parts[2]


def parse_edge(source: str, target: str) -> Edge:
    """Parse an edge. Raises InvalidInput for an edge that no nodes could have."""
    (from_node, from_type, from_key), (to_node, to_type, to_key) = parse_socket(source), parse_socket(target)
    found = Edge(
        source=from_node,
        source_type=from_type,
        source_key=from_key,
        target=to_node,
        target_type=to_type,
        target_key=to_key,
    )
    if serving := [kind for kind in (from_type, to_type) if kind in SERVING]:
        raise InvalidInput(f"{format_edge(found)} is for deployments ({serving[0]}), which do not run here")
    if from_type not in SOURCES.get(to_type, ()):
        raise InvalidInput(f"{format_edge(found)}: {from_type} cannot lead into {to_type}{_advice(to_type)}")
    if max(len(from_key), len(to_key)) > KEY_CHARS:
        raise InvalidInput(f"{format_edge(found)} has a name of more than {KEY_CHARS} characters")
    return found


def format_edge(found: Edge) -> str:
    return f"the edge {found.text:.{SHOWN_CHARS}}"


def find_edge_problems(edges: Sequence[Edge], nodes: Mapping[str, Node]) -> Iterator[str]:
    """Yield sentences about edges with missing ends, and about several edges to an end that accepts only one."""
    known = {(name, kind): map_declared_sockets(node, kind).keys() for name, node in nodes.items() for kind in KEYS}
    for found in edges:
        yield from _end_problems(found, nodes, known)
    ends = Counter((e.target, e.target_type, e.target_key) for e in edges if e.target_type in SINGLE)
    for (node, kind, key), count in ends.items():
        if count > 1:
            yield f'{count} edges lead into the {_words(kind)} "{key:.80}" of node "{node:.80}"; only one is allowed'


def _end_problems(
    found: Edge, nodes: Collection[str], known: Mapping[tuple[str, str], Collection[str]]
) -> Iterator[str]:
    if missing := [name for name in (found.source, found.target) if name not in nodes]:
        yield f"{format_edge(found)}: {explain_unknown_name('node', missing[0], nodes)}"
        return
    if found.source == found.target:
        yield f"{format_edge(found)} leads from a node to itself"
    if found.target_type == "dependency":
        return
    if found.source_type in KEYS and not list_matching_files(known[found.source, found.source_type], found):
        yield f"{format_edge(found)}: {_lacks(found.source, found.source_type, found.source_key)}"
    if found.target_key not in known[found.target, found.target_type]:
        yield f"{format_edge(found)}: {_lacks(found.target, found.target_type, found.target_key)}"


def list_matching_files(known: Iterable[str], found: Edge) -> list[str]:
    """Return the names of the source that an edge refers to; for inputs also those that match a pattern."""
    if found.source_type == "input":
        return [name for name in known if name == found.source_key or fnmatchcase(name, found.source_key)]
    return [name for name in known if name == found.source_key]


def map_declared_sockets(node: Node, kind: str) -> dict[str, Mapping[str, Any]]:
    """Return the inputs, parameters or environment variables of a node's step, by name."""
    return {item["name"]: item for item in node.step["step"].get(KEYS[kind], ())}


def _lacks(node: str, kind: str, key: str) -> str:
    return f'the step of node "{node:.80}" has no {_words(kind)} "{key:.80}"'


def _words(kind: str) -> str:
    return kind.replace("-", " ")


def _advice(to_type: str) -> str:
    if to_type not in SOURCES:
        return f"; supported are {', '.join(SOURCES)}"
    return f"; {', '.join(SOURCES[to_type])} can" if to_type != "dependency" else ""
