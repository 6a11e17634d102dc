"""Stop a pipeline: running nodes are stopped at once, the others do not start."""

from __future__ import annotations

from core.groups import Pipeline
from core.states import State
from web.services.context import Context
from web.services.forges import enqueue
from web.services.pipelines import runs
from web.services.pipelines.runs import NodeRun
from web.store import audit, groups, pipelines
from web.store.audit import Act, Kind


def request_stop(context: Context, pipeline: Pipeline, who: str, message: str = "") -> None:
    """Stop the runs of a pipeline and start no more nodes. Does nothing if it is ending or has ended.

    `message` is "stopped by `who`" by default.
    """
    if pipelines.get(context.db, pipeline.id).ending or not groups.request_stop(
        context.db, "pipeline", pipeline.id, who
    ):
        return
    groups.update(context.db, "pipeline", pipeline.id, ending=State.STOPPED, message=message or f"stopped by {who}")
    if not message:
        audit.record(context.db, Act.STOP, Kind.PIPELINE, f"={pipeline.counter}", pipeline.project_id)
    pipeline = pipelines.get(context.db, pipeline.id)
    started = [node for node in pipelines.list_nodes(context.db, pipeline.id) if node.state is State.STARTED]
    for run in runs.map_newest_by_node(context.db, started).values():
        stop_run(context, pipeline, run)
    enqueue.enqueue_commit(context.db, pipeline.commit_id)


def stop_run(context: Context, pipeline: Pipeline, run: NodeRun) -> bool:
    """Stop the run of a node because its pipeline ends; return False if a stop was already requested."""
    who = pipeline.stopped_by or f"pipeline ={pipeline.counter}"
    return runs.stop_run_of_node(context, run, who, f"Pipeline ={pipeline.counter}: {pipeline.message}")
