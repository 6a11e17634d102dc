"""Summarise the runs of a commit for forges: state and words for each step, task and pipeline.

The status of a task with many executions changes in ten steps, since forges limit the number of statuses of a commit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from core.groups import Pipeline, Task
from core.model import Execution, Target, TargetKind
from core.states import FINAL, State
from hooks import statuses as rules
from hooks.apis.base import CommitState
from web.services.pipelines import progress
from web.services.presentation import formats, headline, objective
from web.store import metadata, statuses, tasks, trials
from web.store.db import Database
from web.store.tasks import Tally
from web.store.trials import Trial


@dataclass(frozen=True, kw_only=True)
class StatusSummary:
    """State and words for one target. `page` is a path below the project's page."""

    target: Target
    state: CommitState
    line: str
    page: str


@dataclass(frozen=True, kw_only=True)
class SearchSummary:
    """Progress of a task: how many executions have ended, how many of them failed, and the best one by `key`.

    The text of a running task changes rarely: its `best` considers only the executions that `headline.format_progress`
    counts.
    """

    ended: int
    failed: int
    key: str = ""
    best: Trial | None = None


def summarize_runs(db: Database, repository_id: int, commit_id: int) -> list[StatusSummary]:
    """Summarise all runs of a commit: steps, then tasks, then pipelines."""
    found = statuses.get_newest_runs(db, repository_id, commit_id)
    latest = metadata.map_latest_by_execution(db, [execution.id for execution in found.executions])
    return [
        *(_of_execution(db, execution, latest.get(execution.id, {})) for execution in found.executions),
        *(_of_task(db, task) for task in found.tasks),
        *(_of_pipeline(db, pipeline) for pipeline in found.pipelines),
    ]


def summarize_search(db: Database, task: Task) -> SearchSummary:
    tally = tasks.map_tallies(db, task.id).get(task.id, Tally())
    ended = tally.complete + tally.failed + tally.stopped
    found = SearchSummary(ended=ended, failed=tally.failed)
    by = objective.map_objectives_by_task(db, [task]).get(task.id)
    if by is None:
        return found
    shown_count = ended if task.state in FINAL else headline.round_to_stage(ended, task.planned)
    of = statuses.list_first_ended(db, task.id, shown_count)
    tried = [
        (by.cost(trial.number), trial.trial, trial)
        for trial in trials.list_for_task(db, task.id, by.key)
        if trial.execution_id in of and trial.state in trials.COUNTED and trial.number is not None
    ]
    return replace(found, key=by.key, best=min(tried)[-1] if tried else None)


def _of_execution(db: Database, execution: Execution, latest: Mapping[str, Any]) -> StatusSummary:
    by = statuses.get_stopped_by(db, execution.id) if execution.state is State.STOPPED else ""
    return StatusSummary(
        target=Target(name=execution.step),
        state=rules.choose_execution_state(execution.state, execution.failure_reason),
        line=headline.summarize_execution(execution, latest, by),
        page=f"executions/{execution.counter}/",
    )


def _of_task(db: Database, task: Task) -> StatusSummary:
    found = summarize_search(db, task)
    best = ""
    if found.best is not None and found.best.number is not None:
        best = f"{found.key} {formats.format_number(found.best.number)} (#{found.best.counter})"
    return StatusSummary(
        target=Target(kind=TargetKind.TASK, name=task.name),
        state=rules.choose_group_state(task.state, statuses.list_task_failures(db, task.id)),
        line=headline.summarize_task(task, found.ended, found.failed, best),
        page=f"tasks/{task.counter}/",
    )


def _of_pipeline(db: Database, pipeline: Pipeline) -> StatusSummary:
    found = progress.get_progress(db, pipeline)
    return StatusSummary(
        target=Target(kind=TargetKind.PIPELINE, name=pipeline.name),
        state=rules.choose_group_state(pipeline.state, statuses.list_pipeline_failures(db, pipeline.id)),
        line=headline.summarize_pipeline(pipeline, found.nodes, found.done, found.counts[State.ERROR], found.waiting),
        page=f"pipelines/{pipeline.counter}/",
    )
