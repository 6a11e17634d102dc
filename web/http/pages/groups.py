"""Tasks and pipelines as single lines, and the position of executions in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.groups import Pipeline, PipelineNode, Task
from core.model import Execution
from core.states import FINAL
from web.services.pipelines.progress import compute_progress
from web.services.presentation import objective as goals
from web.services.presentation.objective import Objective
from web.store import pipelines, tasks, trials
from web.store.db import Database
from web.store.trials import Trial


@dataclass(frozen=True, kw_only=True)
class GroupProgress:
    """`counts` is what exists, by state; `total` is the expected number, in the end equal to the existing number."""

    counts: Mapping[str, int]
    total: int

    @property
    def ended(self) -> int:
        return sum(self.counts.get(state, 0) for state in FINAL)

    @property
    def words(self) -> str:
        return f"{self.ended}/{self.total}"


@dataclass(frozen=True, kw_only=True)
class TaskLine:
    task: Task
    progress: GroupProgress
    goal: Objective | None
    best: Trial | None


@dataclass(frozen=True, kw_only=True)
class PipelineLine:
    """`nodes` are in file order; `waiting` are the names of those that wait for approval."""

    pipeline: Pipeline
    progress: GroupProgress
    nodes: Sequence[PipelineNode]
    waiting: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A task or a pipeline among the executions of a commit."""

    group: Task | Pipeline
    progress: GroupProgress

    @property
    def page(self) -> str:
        return "tasks.show" if isinstance(self.group, Task) else "pipelines.show"

    @property
    def number(self) -> str:
        return f"{'!' if isinstance(self.group, Task) else '='}{self.group.counter}"


@dataclass(frozen=True, kw_only=True)
class Place:
    """The position of an execution: in a task, as a node of a pipeline, or in a task that is a node."""

    task: Task | None
    trial: int | None
    pipeline: Pipeline | None
    node: str


def measure_progress(task: Task, counts: Mapping[str, int]) -> GroupProgress:
    made = sum(counts.values())
    return GroupProgress(counts=counts, total=made if task.state in FINAL else max(task.planned, made))


def build_task_lines(db: Database, found: Sequence[Task]) -> list[TaskLine]:
    counts = trials.count_by_state(db, [task.id for task in found])
    objectives = goals.map_objectives_by_task(db, found)
    best = goals.map_best_by_task(db, objectives)
    return [
        TaskLine(
            task=task,
            progress=measure_progress(task, counts[task.id]),
            goal=objectives.get(task.id),
            best=best.get(task.id),
        )
        for task in found
    ]


def build_pipeline_lines(db: Database, found: Sequence[Pipeline]) -> list[PipelineLine]:
    nodes = pipelines.list_nodes_by_pipeline(db, [pipeline.id for pipeline in found])
    return [_pipeline_line(pipeline, nodes[pipeline.id]) for pipeline in found]


def map_places(db: Database, found: Sequence[Execution]) -> dict[int, Place]:
    """Return places by execution id, for executions that have one."""
    of_task = {task.id: task for task in tasks.get_many(db, list({e.task_id for e in found if e.task_id is not None}))}
    of_node = pipelines.map_by_node(db, list({e.pipeline_node_id for e in found if e.pipeline_node_id is not None}))
    result: dict[int, Place] = {}
    for e in found:
        pipeline, node = of_node.get(e.pipeline_node_id or 0, (None, ""))
        if e.task_id is not None or pipeline is not None:
            result[e.id] = Place(task=of_task.get(e.task_id or 0), trial=e.trial, pipeline=pipeline, node=node)
    return result


def find_place_of_node(db: Database, node_id: int | None) -> tuple[Pipeline | None, str]:
    """Return the pipeline of a node, and the node's name."""
    return pipelines.map_by_node(db, [node_id]).get(node_id, (None, "")) if node_id is not None else (None, "")


def list_lines_of_commit(db: Database, commit_id: int) -> tuple[list[TaskLine], list[PipelineLine]]:
    """Return the tasks and pipelines of a commit, without the tasks of pipelines."""
    return build_task_lines(db, _alone(db, [commit_id])), build_pipeline_lines(
        db, pipelines.list_for_commits(db, [commit_id])
    )


def map_marks_by_commit(db: Database, commit_ids: Sequence[int]) -> dict[int, list[Mark]]:
    """Return the same in short form by commit id, pipelines first."""
    alone = _alone(db, commit_ids)
    counts = trials.count_by_state(db, [task.id for task in alone])
    found = [
        *(
            Mark(group=line.pipeline, progress=line.progress)
            for line in build_pipeline_lines(db, pipelines.list_for_commits(db, commit_ids))
        ),
        *(Mark(group=task, progress=measure_progress(task, counts[task.id])) for task in alone),
    ]
    result: dict[int, list[Mark]] = {commit_id: [] for commit_id in commit_ids}
    for mark in found:
        result[mark.group.commit_id].append(mark)
    return result


def _alone(db: Database, commit_ids: Sequence[int]) -> list[Task]:
    return [task for task in tasks.list_for_commits(db, commit_ids) if task.pipeline_node_id is None]


def _pipeline_line(pipeline: Pipeline, nodes: Sequence[PipelineNode]) -> PipelineLine:
    so_far = compute_progress(nodes)
    progress = GroupProgress(counts={str(state): n for state, n in so_far.counts.items()}, total=so_far.nodes)
    return PipelineLine(pipeline=pipeline, progress=progress, nodes=nodes, waiting=so_far.waiting)
