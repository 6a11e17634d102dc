"""Stop a pipeline: running nodes are stopped at once, the others do not start."""

from __future__ import annotations

from core.config import Config
from core.groups import Pipeline
from core.states import State
from web.services.forges import enqueue
from web.services.pipelines import runs
from web.services.pipelines.runs import NodeRun
from web.store import groups, pipelines
from web.store.db import Database


def request_stop(db: Database, config: Config, pipeline: Pipeline, who: str, said: str = "") -> None:
    """Stop the runs of a pipeline and start no more nodes. Does nothing if it is ending or has ended.

    `said` is the message, by default "stopped by `who`".
    """
    if pipelines.get(db, pipeline.id).ending or not groups.request_stop(db, "pipeline", pipeline.id, who):
        return
    groups.update(db, "pipeline", pipeline.id, ending=State.STOPPED, message=said or f"stopped by {who}")
    pipeline = pipelines.get(db, pipeline.id)
    started = [node for node in pipelines.nodes(db, pipeline.id) if node.state is State.STARTED]
    for run in runs.newest_runs(db, started).values():
        stop_run(db, config, pipeline, run)
    enqueue.enqueue_commit(db, pipeline.commit_id)


def stop_run(db: Database, config: Config, pipeline: Pipeline, run: NodeRun) -> bool:
    """Stop the run of a node because its pipeline ends; return False if a stop was already requested."""
    who = pipeline.stopped_by or f"pipeline ={pipeline.counter}"
    return runs.stop_run_of_node(db, config, run, who, f"Pipeline ={pipeline.counter}: {pipeline.message}")
