"""The commits of a project; and one commit with everything launched for it, and the reasons for what was not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flask import Blueprint, redirect, render_template, url_for
from markupsafe import Markup
from werkzeug import Response

from core.groups import Pipeline, Task
from core.model import Commit, Execution, Target, TargetKind
from core.states import State
from web.http import auth, changes
from web.http.pages import groups
from web.http.pages.addresses import base_url
from web.http.pages.groups import Mark
from web.http.pages.paging import Page
from web.services.context import Context
from web.services.presentation import against_parent, commit_facts, formats, loglines, verdicts
from web.services.presentation.against_parent import MainMetric
from web.services.presentation.verdict import Verdict
from web.services.scheduling import wait_reason
from web.services.triggers import approvals
from web.services.triggers.rules.runnable import described_targets
from web.store import approvals as approval_store
from web.store import commits, execution_table, executions, logs, metadata, projects, pull_requests, pushes, statuses
from web.store.launched import RunCount
from web.store.logs import LogLength

blueprint = Blueprint("commits", __name__)

PER_PAGE = 50
DOTS = 40  # executions shown for each commit in the list
TAIL_LINES = 10
WITH_TAIL = (State.STARTED, State.ERROR)
SHOWN_TAILS = 50  # executions of one commit whose last log lines are shown


@dataclass(frozen=True, kw_only=True)
class CommitRow:
    """A commit in the list, with what it launched; the executions of tasks and pipelines are left out."""

    commit: Commit
    marks: list[Mark]
    executions: list[Execution]
    verdict: Verdict


@dataclass(frozen=True, kw_only=True)
class SingleRun:
    """An execution of a commit outside tasks and pipelines; `tail` are its last log lines if it runs or failed."""

    execution: Execution
    latest: dict[str, Any]
    main: MainMetric | None
    tail: Markup
    waits: str


@blueprint.get("/p/<name>/commits/")
@auth.read
@changes.shows(changes.RUNS, changes.PUSHES)
def listing(name: str) -> str:
    db = auth.db()
    project = projects.by_name(db, name)
    page = Page.asked(PER_PAGE)
    found, total = commits.search(db, [project.id], adhoc=None, limit=page.size, offset=page.offset)
    ids = [commit.id for commit in found]
    marks, launched = groups.marks_of_commits(db, ids), execution_table.newest_of_commits(db, ids, DOTS)
    runs = {commit_id: _counts([mark.group for mark in marks[commit_id]], launched[commit_id]) for commit_id in ids}
    said = verdicts.of_commits(db, found, runs)
    rows = [
        CommitRow(commit=commit, marks=marks[commit.id], executions=launched[commit.id], verdict=said[commit.id])
        for commit in found
    ]
    return render_template(
        "commits.html",
        project=project,
        rows=rows,
        page=page.of(total),
        base_url=base_url(),
        hosted=projects.is_hosted(db, project.id),
        waiting=approvals.overview(db, project),
        waits_for_approval={item.push.after for item in approval_store.waiting(db, project.id)},
    )


@blueprint.get("/p/<name>/commits/<identifier>/")
@auth.read
@changes.shows(changes.RUNS, changes.VALUES, changes.LOGS, changes.PUSHES, changes.ONLINE)
def show(name: str, identifier: str) -> str:
    db = auth.db()
    project = projects.by_name(db, name)
    commit = commits.by_identifier(db, project.id, identifier)
    found = executions.of_commit(db, commit.id)
    task_lines, pipeline_lines = groups.places_of_commit(db, commit.id)
    repository = projects.repository(db, commit.repository_id)
    facts = commit_facts.commit_facts(auth.context(), repository, commit)
    runs = _counts([line.task for line in task_lines], [line.pipeline for line in pipeline_lines], found)
    return render_template(
        "commit.html",
        project=project,
        commit=commit,
        verdict=verdicts.of_commits(db, [commit], {commit.id: runs})[commit.id],
        pushes=pushes.pushes_of_commit(db, commit.id),
        pull_requests=pull_requests.of_commit(db, commit.id),
        waits_for_approval=bool(approval_store.waiting(db, project.id, identifier)),
        approval=approval_store.find(db, commit.repository_id, identifier),
        runnables=described_targets(commit.config),
        tasks=task_lines,
        pipelines=pipeline_lines,
        facts=facts,
        outcomes=_outcomes(auth.context(), found, facts.parent),
        posted=list(statuses.posted_statuses(db, commit.repository_id, identifier).values()),
        host=formats.forge_name(repository.forge),
    )


@blueprint.post("/p/<name>/commits/<identifier>/approve")
@auth.launch
def approve(name: str, identifier: str) -> Response:
    """Allow this one commit of a fork to run."""
    context = auth.context()
    approvals.approve(context, projects.by_name(context.db, name), identifier, auth.current_user())
    return redirect(url_for("commits.show", name=name, identifier=identifier), 303)


def _outcomes(context: Context, found: list[Execution], parent: str) -> list[SingleRun]:
    ids = [execution.id for execution in found]
    latest, waits = metadata.latest_of(context.db, ids), wait_reason.wait_reasons(context, found)
    main = against_parent.main_metrics(context.db, found[0].project_id, parent, found, latest) if found else {}
    lengths = logs.lengths(context.db, [e.id for e in found if e.state in WITH_TAIL][:SHOWN_TAILS])
    return [
        SingleRun(
            execution=execution,
            latest=latest.get(execution.id, {}),
            main=main.get(execution.id),
            tail=_tail(context.config.logs_dir, execution, lengths.get(execution.id)),
            waits=waits.get(execution.id, ""),
        )
        for execution in found
    ]


def _tail(logs_dir: Path, execution: Execution, at: LogLength | None) -> Markup:
    if at is None:
        return Markup()
    lines = logs.read(logs_dir, execution, at, max(0, at.lines - TAIL_LINES), TAIL_LINES)
    return Markup("\n".join(loglines.plain(line) for line in lines))  # noqa: S704  (escaped there)


def _counts(*found: Sequence[Execution | Task | Pipeline]) -> list[RunCount]:
    return [
        RunCount(
            target=Target(kind=_kind(item), name=item.step if isinstance(item, Execution) else item.name),
            state=item.state,
        )
        for items in found
        for item in items
    ]


def _kind(item: Execution | Task | Pipeline) -> TargetKind:
    if isinstance(item, Execution):
        return TargetKind.STEP
    return TargetKind.TASK if isinstance(item, Task) else TargetKind.PIPELINE
