"""The page of a commit: a card for each step, task and pipeline of its configuration, with its runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.errors import PushmillError
from core.groups import Pipeline, Task
from core.model import Commit, Execution, Target, TargetKind
from web.config.pipelines import graph
from web.config.pipelines.blueprint import load_pipeline
from web.config.tasks.blueprint import load_task
from web.http.pages import groups
from web.http.pages.groups import PipelineLine, TaskLine
from web.services.presentation import against_parent
from web.services.presentation.against_parent import MainMetric
from web.services.triggers.rules.runnable import Declared, list_described_targets
from web.store import commits, executions, metadata
from web.store.db import Database

Run = Execution | Task | Pipeline
EARLIER = 20  # most runs of a card beside the newest one


@dataclass(frozen=True, kw_only=True)
class CommitRuns:
    """The standalone runs of a commit."""

    executions: Sequence[Execution]
    tasks: Sequence[TaskLine]
    pipelines: Sequence[PipelineLine]

    def by_target(self) -> dict[Target, list[Run]]:
        """Return the runs of each target, the newest first."""
        result: dict[Target, list[Run]] = {}
        found: list[Run] = [*self.executions, *(line.task for line in self.tasks)]
        found += [line.pipeline for line in self.pipelines]
        for run in sorted(found, key=lambda run: run.counter, reverse=True):
            result.setdefault(get_target_of_run(run), []).append(run)
        return result


@dataclass(frozen=True, kw_only=True)
class Card:
    """What one target is made of, and its runs for this commit, the newest first.

    `layers` are a task's step, or a pipeline's nodes in the order in which they run. `line` is the newest run if that
    is a task or a pipeline. `main` is the main metric of `main_of`, the newest run that has one. `skipped` is why a
    push did not run the target. A target that ran may not be `declared`.
    """

    about: Declared
    declared: bool
    layers: Sequence[Sequence[str]]
    runs: Sequence[Run]
    line: TaskLine | PipelineLine | None
    main: MainMetric | None
    main_of: Run | None
    skipped: str

    @property
    def earlier(self) -> Sequence[Run]:
        return self.runs[1 : EARLIER + 1]

    @property
    def states(self) -> dict[str, str]:
        """Return the states of a pipeline's nodes in its newest run, by name."""
        return {node.name: str(node.state) for node in self.line.nodes} if isinstance(self.line, PipelineLine) else {}


def list_runs(db: Database, commit: Commit) -> CommitRuns:
    tasks, pipelines = groups.list_lines_of_commit(db, commit.id)
    return CommitRuns(executions=executions.list_for_commit(db, commit.id), tasks=tasks, pipelines=pipelines)


def build_cards(db: Database, commit: Commit, parent: str, found: CommitRuns, skipped: Mapping[str, str]) -> list[Card]:
    """Return the cards of declared targets, then those of others that ran.

    `parent` is the name of the commit's parent, "" for none. `skipped` are reasons by label of the target.
    """
    runs, declared = found.by_target(), list_described_targets(commit.config)
    others = sorted(runs.keys() - {one.target for one in declared})
    lines = _lines(found)
    metrics = _main_metrics(db, commit, parent, runs, lines)
    result = []
    for about in (*declared, *(Declared(target=target, description="", category="") for target in others)):
        of = runs.get(about.target, [])
        main_of = next((run for run in of if run.uuid in metrics), None)
        result.append(
            Card(
                about=about,
                declared=about in declared,
                layers=_layers(commit.config, about.target),
                runs=of,
                line=lines.get(of[0].uuid) if of else None,
                main=metrics[main_of.uuid] if main_of else None,
                main_of=main_of,
                skipped=skipped.get(about.target.label, ""),
            )
        )
    return result


def get_target_of_run(run: Run) -> Target:
    if isinstance(run, Execution):
        return Target(name=run.step)
    return Target(kind=TargetKind.TASK if isinstance(run, Task) else TargetKind.PIPELINE, name=run.name)


def _lines(found: CommitRuns) -> dict[str, TaskLine | PipelineLine]:
    return {line.task.uuid: line for line in found.tasks} | {line.pipeline.uuid: line for line in found.pipelines}


def _main_metrics(
    db: Database, commit: Commit, parent: str, runs: Mapping[Target, Sequence[Run]], lines: Mapping[str, Any]
) -> dict[str, MainMetric]:
    """Return by UUID the main metrics of the executions that cards show, and the best values of the newest tasks."""
    shown = [run for of in runs.values() for run in of[: EARLIER + 1] if isinstance(run, Execution)]
    latest = metadata.map_latest_by_execution(db, [execution.id for execution in shown])
    of_steps = against_parent.compare_main_metrics(db, commit.project_id, parent, shown, latest)
    found = {execution.uuid: of_steps[execution.id] for execution in shown if execution.id in of_steps}
    searches: list[TaskLine] = [lines[of[0].uuid] for of in runs.values() if isinstance(of[0], Task)]
    before = commits.find_by_identifier(db, commit.project_id, parent) if parent and searches else None
    earlier = {line.task.name: line for line in groups.list_lines_of_commit(db, before.id)[0]} if before else {}
    for line in searches:
        if line.goal and line.best and line.best.number is not None:
            other = earlier.get(line.task.name)
            of = other.best if other and other.goal == line.goal else None
            reference, counter = (of.number, of.counter) if of else (None, None)
            found[line.task.uuid] = against_parent.compare_with(line.goal, line.best.number, reference, counter)
    return found


def _layers(config: Any, target: Target) -> Sequence[Sequence[str]]:
    try:
        if target.kind is TargetKind.TASK:
            return ((load_task(config, target.name).step,),)
        return graph.compute_layers(load_pipeline(config, target.name)) if target.kind is TargetKind.PIPELINE else ()
    except PushmillError:
        return ()  # it cannot run; the form says why
