"""The order of a pipeline's nodes, given by its edges."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from web.config.pipelines.model import PipelineBlueprint


def compute_layers(blueprint: PipelineBlueprint) -> tuple[tuple[str, ...], ...]:
    """Return the nodes' names in layers: each node is in the first layer after all nodes it needs; in file order."""
    placed, _ = _placed([node.name for node in blueprint.nodes], blueprint.arrows)
    return tuple(placed)


def find_cycle(names: Collection[str], arrows: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """Return the names along one cycle, () if there is none.

    `arrows` are (source, target) pairs of these names.
    """
    _, needs = _placed(names, arrows)
    way: list[str] = []
    name = next(iter(needs), "")
    while name and name not in way:
        way.append(name)
        name = min(needs[name] & needs.keys())  # a node without a layer waits for another one without a layer
    return tuple(reversed(way[way.index(name) :])) if way else ()


def _placed(
    names: Collection[str], arrows: Iterable[tuple[str, str]]
) -> tuple[list[tuple[str, ...]], dict[str, set[str]]]:
    """Return the layers, and the nodes that fit in none with the nodes that each of those waits for."""
    needs: dict[str, set[str]] = {name: set() for name in names}
    for source, target in arrows:
        needs[target].add(source)
    placed = []
    while free := tuple(name for name, before in needs.items() if not before & needs.keys()):
        placed.append(free)
        for name in free:
            del needs[name]
    return placed, needs
