"""How far a pipeline is, for pages and forges."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.groups import Pipeline, PipelineNode
from core.states import FINAL, State
from web.store import pipelines
from web.store.db import Database


@dataclass(frozen=True, kw_only=True)
class Progress:
    """`nodes` are how many there are, `done` how many of them have ended, `counts` how many are in each state.

    `waiting` are the names of those that wait for a person's approval, `failed` the name of the first that ended in
    error, "" for none.
    """

    nodes: int
    done: int
    counts: Mapping[State, int]
    waiting: tuple[str, ...]
    failed: str


def progress(db: Database, pipeline: Pipeline) -> Progress:
    return of_nodes(pipelines.nodes(db, pipeline.id))


def of_nodes(nodes: Sequence[PipelineNode]) -> Progress:
    """The same of nodes that were read already."""
    failed = sorted((node for node in nodes if node.state is State.ERROR), key=lambda node: node.ended_at or "")
    return Progress(
        nodes=len(nodes),
        done=sum(node.state in FINAL for node in nodes),
        counts=Counter(node.state for node in nodes),
        waiting=tuple(node.name for node in nodes if waits(node)),
        failed=failed[0].name if failed else "",
    )


def waits(node: PipelineNode) -> bool:
    """Whether it waits for a person's approval: to begin, or to count as complete."""
    return node.approval_asked_at is not None and node.approved_at is None and node.state not in FINAL
