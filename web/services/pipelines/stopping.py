"""Stopping a pipeline: what runs of it is stopped at once, the rest does not begin."""

from __future__ import annotations

from core.config import Config
from core.groups import Pipeline
from core.states import State
from web.services.forges import enqueue
from web.services.pipelines import runs
from web.services.pipelines.runs import Run
from web.store import groups, pipelines
from web.store.db import Database


def request_stop(db: Database, config: Config, pipeline: Pipeline, who: str, said: str = "") -> None:
    """Stop what runs or waits of it, and begin nothing more. When it ends already, or is final: nothing. Inside a transaction.

    `said` is why, instead of who asked.
    """
    if pipelines.get(db, pipeline.id).message or not groups.request_stop(db, "pipeline", pipeline.id, who):
        return
    groups.update(db, "pipeline", pipeline.id, message=said or f"stopped by {who}")
    pipeline = pipelines.get(db, pipeline.id)
    started = [node for node in pipelines.nodes(db, pipeline.id) if node.state is State.STARTED]
    for run in runs.newest(db, started).values():
        stop_run(db, config, pipeline, run)
    enqueue.mark_commit(db, pipeline.commit_id)


def stop_run(db: Database, config: Config, pipeline: Pipeline, run: Run) -> bool:
    """Stop what a node runs because its pipeline ends, once; whether it was not asked before. Inside a transaction."""
    who = pipeline.stopped_by or f"pipeline ={pipeline.counter}"
    return runs.stop(db, config, run, who, f"Pipeline ={pipeline.counter}: {pipeline.message}")
