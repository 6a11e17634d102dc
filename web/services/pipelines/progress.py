"""Progress of a pipeline, for pages and commit statuses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.groups import Pipeline, PipelineNode
from core.states import FINAL, State
from web.store import pipelines
from web.store.db import Database


@dataclass(frozen=True, kw_only=True)
class NodeProgress:
    """Counts of nodes: `nodes` in total, `done` in a final state, `counts` by state.

    `waiting` are the names of nodes that wait for approval; `failed` is the name of the first node that failed, or "".
    """

    nodes: int
    done: int
    counts: Mapping[State, int]
    waiting: tuple[str, ...]
    failed: str


def get_progress(db: Database, pipeline: Pipeline) -> NodeProgress:
    return compute_progress(pipelines.list_nodes(db, pipeline.id))


def compute_progress(nodes: Sequence[PipelineNode]) -> NodeProgress:
    """Return the progress of nodes that were read already."""
    failed = sorted((node for node in nodes if node.state is State.ERROR), key=lambda node: node.ended_at or "")
    return NodeProgress(
        nodes=len(nodes),
        done=sum(node.state in FINAL for node in nodes),
        counts=Counter(node.state for node in nodes),
        waiting=tuple(node.name for node in nodes if is_waiting_for_approval(node)),
        failed=failed[0].name if failed else "",
    )


def is_waiting_for_approval(node: PipelineNode) -> bool:
    """Return whether a node waits for approval, either to start or to count as complete."""
    return node.approval_asked_at is not None and node.approved_at is None and node.state not in FINAL
