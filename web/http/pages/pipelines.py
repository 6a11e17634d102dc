"""The pipelines of a project; and one pipeline with its graph and the result of each node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby

from flask import Blueprint, redirect, render_template, url_for
from werkzeug import Response

from core.errors import NotFound, PushmillError
from core.groups import Pipeline, PipelineNode, Task
from core.model import Execution, Project
from core.states import UNFINISHED
from web.config.pipelines.blueprint import Edge, PipelineBlueprint, load_pipeline
from web.config.pipelines.graph import compute_layers
from web.http import auth, changes
from web.http.pages import groups
from web.http.pages.groups import GroupProgress
from web.http.pages.paging import ListPage
from web.services import pipelines as service
from web.services.pipelines.progress import is_waiting_for_approval
from web.services.presentation import drawing
from web.services.presentation.drawing import GraphDrawing
from web.services.presentation.origins import format_origin
from web.store import commits, pipelines, projects, trials
from web.store.db import Database, transaction
from web.store.selection import Selection

blueprint = Blueprint("pipelines", __name__)

PATH = "/p/<name>/pipelines/<int(max=2147483647):counter>"
PER_PAGE = 50


@dataclass(frozen=True, kw_only=True)
class NodeView:
    """A node with its execution or task; `progress` is the task's, `step` the name of the node's step."""

    node: PipelineNode
    step: str
    waits: bool
    execution: Execution | None
    task: Task | None
    progress: GroupProgress | None

    @property
    def status(self) -> str:
        """The status as in the API: `stopping` while its execution or task was asked to stop."""
        made = self.execution or self.task
        stopping = made is not None and made.status == "stopping" and self.node.state in UNFINISHED
        return "stopping" if stopping else str(self.node.state)


@blueprint.get("/p/<name>/pipelines/")
@auth.read
@changes.shows(changes.RUNS)
def listing(name: str) -> str:
    db = auth.get_db()
    project = projects.get_by_name(db, name)
    page = ListPage.requested(PER_PAGE)
    found, total = pipelines.search(db, Selection(projects=[project.id], limit=page.size, offset=page.offset))
    return render_template(
        "pipelines.html",
        project=project,
        lines=groups.build_pipeline_lines(db, found),
        commits=commits.get_many(db, {pipeline.commit_id for pipeline in found}),
        page=page.with_total(total),
        hosted=not total and projects.is_hosted(db, project.id),
    )


@blueprint.get(f"{PATH}/")
@auth.read
@changes.shows(changes.RUNS)
def show(name: str, counter: int) -> str:
    db = auth.get_db()
    project, pipeline = _requested_pipeline(db, name, counter)
    declared = _declared(pipeline)
    runs = _runs(db, pipeline, {node.name: node.step_name for node in declared.nodes} if declared else {})
    return render_template(
        "pipeline.html",
        project=project,
        pipeline=pipeline,
        commit=commits.get(db, pipeline.commit_id),
        origin=format_origin(db, pipeline),
        progress=groups.build_pipeline_lines(db, [pipeline])[0].progress,
        runs=runs,
        run_of={run.node.name: run for run in runs},
        box=drawing,
        drawing=_draw(declared) if declared else None,
        edges=_texts(declared.edges) if declared else {},
        notes=declared.notes if declared else (),
    )


@blueprint.post(f"{PATH}/stop")
@auth.launch
def stop(name: str, counter: int) -> Response:
    """Stop the whole pipeline."""
    db = auth.get_db()
    _, pipeline = _requested_pipeline(db, name, counter)
    with transaction(db):
        service.request_stop(auth.get_context(), pipeline, auth.get_current_user().username)
    return redirect(url_for("pipelines.show", name=name, counter=counter), 303)


@blueprint.post(f"{PATH}/nodes/<int(max=2147483647):position>/approve")
@auth.launch
def approve(name: str, counter: int, position: int) -> Response:
    """Approve the node at this position in the file, which waits for approval."""
    db = auth.get_db()
    _, pipeline = _requested_pipeline(db, name, counter)
    with transaction(db):
        node = next((node for node in pipelines.list_nodes(db, pipeline.id) if node.position == position), None)
        if node is None:
            raise NotFound(f"pipeline ={counter} has no node {position}")
        service.approve(db, node, auth.get_current_user().username)
    return redirect(url_for("pipelines.show", name=name, counter=counter), 303)


def _requested_pipeline(db: Database, name: str, counter: int) -> tuple[Project, Pipeline]:
    project = projects.get_by_name(db, name)
    return project, pipelines.get_by_counter(db, project.id, counter)


def _runs(db: Database, pipeline: Pipeline, steps: Mapping[str, str]) -> list[NodeView]:
    nodes = pipelines.list_nodes(db, pipeline.id)
    ids = [node.id for node in nodes]
    executions = pipelines.map_newest_executions(db, ids)
    tasks = pipelines.map_newest_tasks(db, ids)
    counts = trials.count_by_state(db, [task.id for task in tasks.values()])
    progress = {task.id: groups.measure_progress(task, counts[task.id]) for task in tasks.values()}
    return [
        NodeView(
            node=node,
            step=steps.get(node.name, ""),
            waits=is_waiting_for_approval(node),
            execution=executions.get(node.id),
            task=(task := tasks.get(node.id)),
            progress=progress[task.id] if task else None,
        )
        for node in nodes
    ]


def _declared(pipeline: Pipeline) -> PipelineBlueprint | None:
    """Return the pipeline in its valohai.yaml; None if that can no longer be read, which must not hide what has run."""
    try:
        return load_pipeline(pipeline.config, pipeline.name)
    except PushmillError:
        return None


def _draw(declared: PipelineBlueprint) -> GraphDrawing:
    return drawing.draw(compute_layers(declared), [(edge.source, edge.target) for edge in declared.edges])


def _texts(edges: tuple[Edge, ...]) -> dict[tuple[str, str], str]:
    """Return by (source, target) the texts of the edges, one per line."""
    pairs = sorted(edges, key=lambda edge: (edge.source, edge.target))
    found = groupby(pairs, key=lambda edge: (edge.source, edge.target))
    return {pair: "\n".join(edge.text for edge in some) for pair, some in found}
