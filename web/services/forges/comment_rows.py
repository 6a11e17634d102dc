"""Rows of the comment on a pull request: runs of its newest commit, next to the runs they are compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from core.errors import InvalidInput, NotFound
from core.groups import Pipeline, PipelineNode, Task
from core.model import Commit, Execution, Target, TargetKind
from core.states import State
from web.config.steps.resolve import resolve
from web.services.forges import summary
from web.services.forges.summary import SearchSummary
from web.services.pipelines import progress
from web.services.presentation import headline
from web.services.presentation.comment_text import CommentRow, RunSource, format_inline_code
from web.services.presentation.execution_status import FAILURES
from web.store import comments, executions, metadata, pipelines, tasks
from web.store.db import Database
from web.store.statuses import StandaloneRuns


@dataclass(frozen=True, kw_only=True)
class Base:
    """Context for building rows. Runs are compared with those of `branch`; `page` is the URL of the project's page.

    `base_config` is the newest configuration of that branch, None if unknown.
    """

    db: Database
    repository_id: int
    branch: str
    commit: Commit
    page: str
    base_config: Any = None


def build_rows(base: Base, found: StandaloneRuns, most: int) -> list[CommentRow]:
    """Return the first `most` rows: steps, then tasks, then pipelines."""
    made: list[Callable[[], CommentRow]] = [
        *(partial(_of_execution, base, execution) for execution in found.executions),
        *(partial(_of_task, base, task) for task in found.tasks),
        *(partial(_of_pipeline, base, pipeline) for pipeline in found.pipelines),
    ]
    return [make() for make in made[:most]]


def _of_execution(base: Base, execution: Execution) -> CommentRow:
    return CommentRow(
        label=execution.step,
        number=f"#{execution.counter}",
        url=_page(base, execution),
        state=execution.state,
        why=FAILURES[execution.failure_reason].lower() if execution.failure_reason else "",
        parameters=_changed_parameters(base, execution),
        before=_changed_defaults(base, execution),
        latest=metadata.get_latest(base.db, execution.id),
        base=_latest(base, _of_step(base, execution), execution),
        took=_took(execution),
    )


def _of_task(base: Base, task: Task) -> CommentRow:
    """Return a task's row, with parameters and metrics of its best execution, compared with the base branch's best."""
    target = Target(kind=TargetKind.TASK, name=task.name)
    search = summary.summarize_search(base.db, task)
    best = _best(base, search)
    other = comments.find_newest_complete(base.db, base.repository_id, base.branch, target)
    before = _best(base, summary.summarize_search(base.db, tasks.get(base.db, other))) if other else None
    return CommentRow(
        label=target.label,
        number=f"{target.kind.sign}{task.counter}",
        url=f"{base.page}/tasks/{task.counter}/",
        state=task.state,
        why=_task_state(task, search),
        parameters=_changed_parameters(base, best) if best else {},
        before=_changed_defaults(base, best) if best else {},
        latest=metadata.get_latest(base.db, best.id) if best else {},
        base=_latest(base, before or _of_step(base, best), best),
        took=_took(task),
        source=RunSource(node="", number=f"#{best.counter}", url=_page(base, best)) if best else None,
    )


def _of_pipeline(base: Base, pipeline: Pipeline) -> CommentRow:
    """Return a pipeline's row, with metrics of the last node that has some, compared with the base branch's node."""
    target = Target(kind=TargetKind.PIPELINE, name=pipeline.name)
    nodes = pipelines.list_nodes(base.db, pipeline.id)
    ran = _runs(base, nodes)
    latest = metadata.map_latest_by_execution(base.db, [execution.id for execution in ran.values()])
    measured = [node for node, execution in ran.items() if headline.choose(latest.get(execution.id, {})) is not None]
    name = measured[-1] if measured else ""
    last = ran.get(name)
    other = comments.find_newest_complete(base.db, base.repository_id, base.branch, target)
    before = _runs(base, pipelines.list_nodes(base.db, other)).get(name) if other and last else None
    return CommentRow(
        label=target.label,
        number=f"{target.kind.sign}{pipeline.counter}",
        url=f"{base.page}/pipelines/{pipeline.counter}/",
        state=pipeline.state,
        why=_pipeline_state(pipeline, progress.compute_progress(nodes)),
        parameters=pipeline.parameters,
        latest=latest[last.id] if last else {},
        base=_latest(base, before or _of_step(base, last), last),
        took=_took(pipeline),
        source=RunSource(node=name, number=f"#{last.counter}", url=_page(base, last)) if last else None,
    )


def _task_state(task: Task, search: SearchSummary) -> str:
    if task.state is State.STARTED:
        return headline.format_progress(search.ended, task.planned)
    if search.failed:
        return f"{search.failed} of {search.ended} failed"
    return format_inline_code(task.message) if task.state is State.ERROR and task.message else ""


def _pipeline_state(pipeline: Pipeline, found: progress.NodeProgress) -> str:
    if found.waiting:
        return f"waiting for approval of {', '.join(map(format_inline_code, found.waiting))}"
    if pipeline.state is State.STARTED:
        return headline.format_progress(found.done, found.nodes, "nodes ")
    if found.failed:
        return f"{format_inline_code(found.failed)} failed"
    return format_inline_code(pipeline.message) if pipeline.state is State.ERROR and pipeline.message else ""


def _runs(base: Base, nodes: Sequence[PipelineNode]) -> dict[str, Execution]:
    """Return by node, in the order of their start, its newest execution or the best one of its newest task."""
    ids = [node.id for node in nodes]
    found = pipelines.map_newest_executions(base.db, ids)
    for node_id, task in pipelines.map_newest_tasks(base.db, ids).items():
        if best := _best(base, summary.summarize_search(base.db, task)):
            found[node_id] = best
    begun = sorted(nodes, key=lambda node: (node.started_at or "", node.position))
    return {node.name: found[node.id] for node in begun if node.id in found}


def _best(base: Base, search: SearchSummary) -> Execution | None:
    return executions.get(base.db, search.best.execution_id) if search.best else None


def _of_step(base: Base, execution: Execution | None) -> Execution | None:
    """Return the newest completed execution of the same step on the base branch."""
    if execution is None:
        return None
    found = comments.find_newest_complete(base.db, base.repository_id, base.branch, Target(name=execution.step))
    return executions.get(base.db, found) if found else None


def _latest(base: Base, before: Execution | None, execution: Execution | None) -> dict[str, Any]:
    """Return the metadata of `before`, with which `execution` is compared; empty if both are the same."""
    if before is None or execution is None or before.id == execution.id:
        return {}
    return metadata.get_latest(base.db, before.id)


def _page(base: Base, execution: Execution) -> str:
    return f"{base.page}/executions/{execution.counter}/"


def _took(ran: Execution | Task | Pipeline) -> str:
    return headline.format_run_duration(ran) if ran.ended_at else ""


def _changed_parameters(base: Base, execution: Execution) -> Mapping[str, object]:
    """Return the parameters that differ from the step's defaults, or whose defaults differ on the base branch."""
    defaults, changed = _defaults(base.commit.config, execution.step), _changed_defaults(base, execution)
    return {
        name: value
        for name, value in execution.parameters.items()
        if name not in defaults or defaults[name] != value or name in changed
    }


def _changed_defaults(base: Base, execution: Execution) -> Mapping[str, object]:
    """Return the base branch's defaults of parameters that have a different value here."""
    before = _defaults(base.base_config, execution.step)
    return {
        name: before[name] for name, value in execution.parameters.items() if name in before and before[name] != value
    }


def _defaults(config: Any, step: str) -> Mapping[str, object]:
    """Return the default parameter values of a step; none if it cannot run with defaults, so that all values differ."""
    try:
        return resolve(config, step).parameters if config else {}
    except (InvalidInput, NotFound):
        return {}
