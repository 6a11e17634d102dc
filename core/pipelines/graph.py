"""The order of a pipeline's nodes, as its edges say."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from core.pipelines.model import PipelineBlueprint


def layers(blueprint: PipelineBlueprint) -> tuple[tuple[str, ...], ...]:
    """The nodes' names, each in the first layer that is behind all that it needs; those of a layer in file order."""
    pairs = {(edge.source, edge.target) for edge in blueprint.edges}
    return sorted_layers([node.name for node in blueprint.nodes], pairs)[0]


def sorted_layers(
    names: Collection[str], arrows: Iterable[tuple[str, str]]
) -> tuple[tuple[tuple[str, ...], ...], tuple[str, ...]]:
    """The same of bare names and (source, target) pairs among them; and the names that have no place: a cycle keeps them."""
    needs: dict[str, set[str]] = {name: set() for name in names}
    for source, target in arrows:
        needs[target].add(source)
    placed: list[tuple[str, ...]] = []
    while needs and (free := tuple(name for name, before in needs.items() if not before & needs.keys())):
        placed.append(free)
        for name in free:
            del needs[name]
    return tuple(placed), tuple(needs)
