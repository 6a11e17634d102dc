"""Snapshot of a pipeline; a change decided from it is made only if the snapshot is still current."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from core.groups import Pipeline, PipelineNode
from core.states import FINAL, State
from web.services.pipelines import runs
from web.services.pipelines.runs import NodeRun
from web.store import pipelines
from web.store.db import Database, needs_transaction


@dataclass(frozen=True, kw_only=True)
class PipelineView:
    """A pipeline, its nodes in file order, and the newest run by node id."""

    pipeline: Pipeline
    nodes: tuple[PipelineNode, ...]
    runs: Mapping[int, NodeRun]

    @property
    def over(self) -> bool:
        return self.pipeline.state in FINAL

    @property
    def ending(self) -> bool:
        """Whether no more nodes start: it must stop or end in error."""
        return self.pipeline.ending is not None

    def nodes_in(self, *states: State) -> list[PipelineNode]:
        return [node for node in self.nodes if node.state in states]


def load_view(db: Database, pipeline_id: int) -> PipelineView:
    nodes = pipelines.list_nodes(db, pipeline_id)
    begun = [node for node in nodes if node.state is not State.CREATED]
    return PipelineView(
        pipeline=pipelines.get(db, pipeline_id), nodes=tuple(nodes), runs=runs.map_newest_by_node(db, begun)
    )


@needs_transaction
def is_unchanged(db: Database, seen: PipelineView, node: PipelineNode) -> bool:
    """Return whether the pipeline's ending, the node and its run are as in `seen`."""
    pipeline = pipelines.get(db, seen.pipeline.id)
    return (
        (pipeline.ended_at, pipeline.stop_requested_at, pipeline.ending)
        == (seen.pipeline.ended_at, seen.pipeline.stop_requested_at, seen.pipeline.ending)
        and pipelines.get_node(db, node.id) == node
        and runs.map_newest_by_node(db, [node]).get(node.id) == seen.runs.get(node.id)
    )
