"""Reconcile one pipeline as far as possible: one transaction per change.

Each transaction checks again that its reasons still hold, so this may be killed at any point and repeated.

For each unfinished pipeline, read the row, the nodes and the newest execution or task of each (`view`), make the
changes that are due, and repeat until none is. Launching and the node's transition are one transaction; values
that edges carry are gathered before it, since sources that have ended do not change.

An unfinished pipeline with an `ending` starts no more nodes, and its running ones are stopped. Reading 20 pipelines of
20 nodes where nothing is due costs 20 ms of processor time.
"""

from __future__ import annotations

from dataclasses import replace

from core import clock
from core.errors import InvalidInput, NotFound
from core.groups import Pipeline, PipelineNode
from core.model import Origin
from core.states import FINAL, State
from web.config.pipelines.blueprint import load_pipeline
from web.config.pipelines.model import Node, OnError, PipelineBlueprint
from web.config.steps.resolve import ResolvedStep
from web.config.tasks.plan import TaskPlan
from web.services import launch
from web.services.context import Context
from web.services.forges import enqueue
from web.services.pipelines import actions, gathering, reuse, runs
from web.services.pipelines.actions import NOTHING, Effects
from web.services.pipelines.progress import is_waiting_for_approval
from web.services.pipelines.runs import NodeRun
from web.services.pipelines.stopping import request_stop, stop_run
from web.services.pipelines.view import PipelineView, is_unchanged, load_view
from web.store import commits, groups, pipelines
from web.store.db import transaction

WAITS = "waiting for approval"
MESSAGE_CHARS = 1000
EVENTS = {State.COMPLETE: "node-complete", State.ERROR: "node-error"}


def reconcile(context: Context, pipeline: Pipeline) -> bool:
    """Reconcile a pipeline. Return whether it created executions, which must be dispatched, or tasks to reconcile."""
    try:
        blueprint = load_pipeline(pipeline.config, pipeline.name)
    except (NotFound, InvalidInput) as error:  # a newer version of pushmill may reject what an older one accepted
        blueprint = PipelineBlueprint(name=pipeline.name, nodes=(), edges=(), parameters=(), notes=())
        with transaction(context.db):
            groups.update(
                context.db, "pipeline", pipeline.id, ending=pipeline.ending or State.ERROR, message=str(error)
            )
    reconciler = Reconciler(context, blueprint)
    while reconciler.change(load_view(context.db, pipeline.id)):
        pass  # each change may let other nodes start or end
    return reconciler.made


class Reconciler:
    """Makes the changes of one pipeline. `made` becomes true with the first execution or task created."""

    def __init__(self, context: Context, blueprint: PipelineBlueprint) -> None:
        self.context, self.db, self.blueprint = context, context.db, blueprint
        self.specs = {node.name: node for node in blueprint.nodes}
        self.made = False

    def change(self, seen: PipelineView) -> bool:
        """Make the changes that are due; return False if there are none."""
        if seen.over:
            return False
        followed = [self._follow(seen, node) for node in seen.nodes_in(State.STARTED)]
        if any(followed):
            return True
        if seen.ending:
            due = [self._halt(seen, node) for node in seen.nodes_in(State.CREATED, State.STARTED)]
        else:
            due = [self._start_or_skip(seen, node) for node in seen.nodes_in(State.CREATED)]
        return any(due) or self._end(seen)

    # nodes that have run

    def _follow(self, seen: PipelineView, node: PipelineNode) -> bool:
        """Finish a node whose run has ended, unless the run is retried or the node needs approval first."""
        run = seen.runs[node.id]
        if run.state not in FINAL or (is_waiting_for_approval(node) and not seen.ending):
            return False
        if seen.ending:
            return self._finish(seen, node, run.state, run.outcome, NOTHING)
        spec = self.specs[node.name]
        if run.state is State.ERROR and spec.on_error is OnError.RETRY and not node.retries:
            try:
                return self._retry(seen, node, run)
            except InvalidInput:
                pass  # its values are no longer valid
        effects = self._effects(spec, run)
        if effects.approval and run.state is State.COMPLETE and node.approved_at is None:
            return self._ask(seen, node)
        return self._finish(seen, node, run.state, run.outcome, effects)

    def _effects(self, spec: Node, run: NodeRun) -> Effects:
        if run.state not in EVENTS:
            return NOTHING
        return actions.compute_effects(
            spec, EVENTS[run.state], lambda names: gathering.gather_condition_values(self.db, run, names)
        )

    def _retry(self, seen: PipelineView, node: PipelineNode, run: NodeRun) -> bool:
        with transaction(self.db):
            if is_unchanged(self.db, seen, node):
                runs.rerun(self.context, run)
                groups.update(self.db, "pipeline_node", node.id, retries=node.retries + 1)
        self.made = True
        return True

    def _ask(self, seen: PipelineView, node: PipelineNode) -> bool:
        with transaction(self.db):
            if is_unchanged(self.db, seen, node):
                asked = {"approval_asked_at": clock.now(), "approved_at": None, "approved_by": ""}
                groups.update(self.db, "pipeline_node", node.id, message=WAITS, **asked)
                enqueue.enqueue_commit(self.db, seen.pipeline.commit_id)
        return True

    def _finish(self, seen: PipelineView, node: PipelineNode, state: State, message: str, effects: Effects) -> bool:
        """End a node and apply the consequences to its pipeline."""
        spec = self.specs.get(node.name)
        fatal = state is State.ERROR and spec is not None and spec.on_error in (OnError.STOP_ALL, OnError.RETRY)
        with transaction(self.db):
            if is_unchanged(self.db, seen, node):
                groups.transition(self.db, "pipeline_node", node.id, node.state, state, message[:MESSAGE_CHARS])
                self._decide(
                    seen.pipeline,
                    f"{node.name} failed: {message[:MESSAGE_CHARS]}" if fatal else effects.fails,
                    effects.stops,
                )
        return True

    def _decide(self, pipeline: Pipeline, fails: str, stops: str) -> None:
        """Record that the pipeline must fail or stop."""
        if fails and not pipeline.ending:
            groups.update(self.db, "pipeline", pipeline.id, ending=State.ERROR, message=fails)
        elif stops:
            request_stop(self.context, pipeline, f"pipeline ={pipeline.counter}", message=stops)
        enqueue.enqueue_commit(self.db, pipeline.commit_id)

    # nodes to start

    def _start_or_skip(self, seen: PipelineView, node: PipelineNode) -> bool:
        """Start a node once all its sources have ended; skip it if one of them failed or was stopped."""
        before = {edge.source for edge in self.blueprint.edges_into(node.name)}
        sources = [source for source in seen.nodes if source.name in before]
        if reason := next(filter(None, map(self._skip_reason, sources)), ""):
            return self._skip(seen, node, reason)
        if is_waiting_for_approval(node) or any(source.state not in FINAL for source in sources):
            return False
        spec = self.specs[node.name]
        ran = {source.name: seen.runs[source.id] for source in sources if source.id in seen.runs}
        try:
            prepared = gathering.prepare(self.db, seen.pipeline, self.blueprint, spec, ran)
        except (NotFound, InvalidInput) as error:
            effects = actions.compute_effects(spec, "node-error", lambda _: {})
            return self._finish(seen, node, State.ERROR, f"cannot start: {error}", effects)
        effects = actions.compute_effects(spec, "node-starting", lambda _: _starting_values(prepared))
        if effects.fails or effects.stops:
            with transaction(self.db):
                if is_unchanged(self.db, seen, node):
                    self._decide(seen.pipeline, effects.fails, effects.stops)
            return True
        if effects.approval and node.approved_at is None:
            return self._ask(seen, node)
        return self._begin(seen, node, prepared)

    def _skip_reason(self, source: PipelineNode) -> str:
        """Return why nodes after this one are skipped, or "" if they are not."""
        if source.state is State.STOPPED:
            return source.message if source.skipped else f"skipped: {source.name} was stopped"
        if source.state is State.ERROR and self.specs[source.name].on_error is not OnError.CONTINUE:
            return f"skipped: {source.name} failed"
        return ""

    def _skip(self, seen: PipelineView, node: PipelineNode, message: str) -> bool:
        with transaction(self.db):
            if is_unchanged(self.db, seen, node):
                groups.update(self.db, "pipeline_node", node.id, skipped=True)
                groups.transition(self.db, "pipeline_node", node.id, node.state, State.STOPPED, message[:MESSAGE_CHARS])
                enqueue.enqueue_commit(self.db, seen.pipeline.commit_id)
        return True

    def _begin(self, seen: PipelineView, node: PipelineNode, prepared: ResolvedStep | TaskPlan) -> bool:
        pipeline = seen.pipeline
        with transaction(self.db):
            if is_unchanged(self.db, seen, node):
                if source := self._earlier(pipeline, prepared):
                    groups.update(self.db, "pipeline_node", node.id, source_id=source)
                else:
                    self._make(pipeline, node, prepared)
                # else an approval to start would count as the one to complete
                groups.update(self.db, "pipeline_node", node.id, approval_asked_at=None, approved_at=None)
                groups.transition(self.db, "pipeline_node", node.id, State.CREATED, State.STARTED)
                if pipelines.get(self.db, pipeline.id).state is State.CREATED:
                    groups.transition(self.db, "pipeline", pipeline.id, State.CREATED, State.STARTED)
                enqueue.enqueue_commit(self.db, pipeline.commit_id)
        return True

    def _earlier(self, pipeline: Pipeline, prepared: ResolvedStep | TaskPlan) -> int | None:
        """Return the earlier node whose run this one reuses."""
        if not self.blueprint.reuses or isinstance(prepared, TaskPlan):
            return None
        return reuse.find_equal_node(self.db, pipeline, commits.get(self.db, pipeline.commit_id), prepared)

    def _make(self, pipeline: Pipeline, node: PipelineNode, prepared: ResolvedStep | TaskPlan) -> None:
        why = ". ".join(filter(None, (f"Node {node.name} of pipeline ={pipeline.counter}", pipeline.why)))
        request = launch.make_group_request(self.db, pipeline, Origin.NODE, why)
        launch.start(self.context, [replace(request, plan=prepared, pipeline_node_id=node.id)])
        self.made = True

    # nodes and pipelines to end

    def _halt(self, seen: PipelineView, node: PipelineNode) -> bool:
        """Stop the run of a node, or skip the node, because the pipeline ends."""
        if node.state is State.CREATED:
            return self._skip(seen, node, f"skipped: {seen.pipeline.message}")
        if seen.runs[node.id].made.stop_requested_at is not None:
            return False
        with transaction(self.db):
            return stop_run(self.context, seen.pipeline, runs.map_newest_by_node(self.db, [node])[node.id])

    def _end(self, seen: PipelineView) -> bool:
        if len(seen.nodes_in(*FINAL)) < len(seen.nodes):
            return False
        state, message = self._outcome(seen)
        with transaction(self.db):
            if pipelines.get(self.db, seen.pipeline.id) == seen.pipeline:
                groups.transition(self.db, "pipeline", seen.pipeline.id, seen.pipeline.state, state, message)
                enqueue.enqueue_commit(self.db, seen.pipeline.commit_id)
        return True

    def _outcome(self, seen: PipelineView) -> tuple[State, str]:
        """Return the final state and message; a failure before the stop request takes precedence over it."""
        pipeline = seen.pipeline
        asked_at = pipeline.stop_requested_at
        errors = sorted(seen.nodes_in(State.ERROR), key=lambda node: node.ended_at or "")
        failed = [
            node
            for node in errors
            if not self._forgiven(node) and (asked_at is None or (node.ended_at or "") < asked_at)
        ]
        if failed:
            return State.ERROR, f"{failed[0].name} failed: {failed[0].message}"
        if pipeline.ending:
            return pipeline.ending, pipeline.message
        if stopped := [node for node in seen.nodes_in(State.STOPPED) if not node.skipped]:
            return State.STOPPED, f"{stopped[0].name} was stopped"
        return State.COMPLETE, f"{errors[0].name} failed, and the rest continued" if errors else ""

    def _forgiven(self, node: PipelineNode) -> bool:
        return node.name in self.specs and self.specs[node.name].on_error is OnError.CONTINUE


def _starting_values(prepared: ResolvedStep | TaskPlan) -> dict[str, object]:
    resolved = prepared.first if isinstance(prepared, TaskPlan) else prepared
    return {f"parameter.{key}": value for key, value in resolved.parameters.items()}
