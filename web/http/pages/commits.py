"""The commits of a project; and one commit with everything launched for it, and the reasons for what was not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flask import Blueprint, redirect, render_template, url_for
from markupsafe import Markup
from werkzeug import Response

from core.config import Config
from core.groups import Pipeline, Task
from core.model import Commit, Execution
from core.states import UNFINISHED
from web.http import auth
from web.http.pages import groups
from web.http.pages.groups import Mark
from web.http.pages.paging import Page
from web.services.presentation import loglines
from web.services.scheduling import wait_reason
from web.services.triggers import approvals
from web.store import approvals as approval_store
from web.store import commits, execution_table, executions, logs, metadata, projects, pull_requests, statuses
from web.store.db import Database

blueprint = Blueprint("commits", __name__)

PER_PAGE = 50
DOTS = 40  # executions shown for each commit in the list
TAIL_LINES = 10
SHOWN_TAILS = 50  # executions of one commit whose last log lines are shown


@dataclass(frozen=True, kw_only=True)
class CommitRow:
    """A commit in the list, with what it launched; the executions of tasks and pipelines are left out."""

    commit: Commit
    marks: list[Mark]
    executions: list[Execution]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """An execution of a commit outside tasks and pipelines; `tail` are its last log lines."""

    execution: Execution
    latest: dict[str, Any]
    tail: Markup
    waits: str


@blueprint.get("/p/<name>/commits/")
@auth.user
def listing(name: str) -> str:
    db = auth.db()
    project = projects.by_name(db, name)
    page = Page.asked(PER_PAGE)
    found, total = commits.search(db, project_id=project.id, adhoc=None, limit=page.size, offset=page.offset)
    rows = [
        CommitRow(
            commit=c,
            marks=groups.execution_marks(db, c.id),
            executions=execution_table.newest_of_commit(db, c.id, DOTS),
        )
        for c in found
    ]
    return render_template(
        "commits.html",
        project=project,
        rows=rows,
        page=page.of(total),
        waiting=approvals.overview(db, project),
        waits_for_approval={item.push.after for item in approval_store.waiting(db, project.id)},
        live=any(_unfinished([mark.group for mark in row.marks], row.executions) for row in rows),
    )


@blueprint.get("/p/<name>/commits/<identifier>/")
@auth.user
def show(name: str, identifier: str) -> str:
    db, config = auth.db(), auth.server().config
    project = projects.by_name(db, name)
    commit = commits.by_identifier(db, project.id, identifier)
    found = executions.of_commit(db, commit.id)
    task_lines, pipeline_lines = groups.places_of_commit(db, commit.id)
    return render_template(
        "commit.html",
        project=project,
        commit=commit,
        pushes=commits.pushes_of_commit(db, commit.id),
        pull_requests=pull_requests.of_commit(db, commit.id),
        waits_for_approval=bool(approval_store.waiting(db, project.id, identifier)),
        approval=approval_store.find(db, commit.repository_id, identifier),
        tasks=task_lines,
        pipelines=pipeline_lines,
        outcomes=_outcomes(db, config, found),
        told=list(statuses.posted_statuses(db, commit.repository_id, identifier).values()),
        live=_unfinished([line.task for line in task_lines], [line.pipeline for line in pipeline_lines], found),
    )


@blueprint.post("/p/<name>/commits/<identifier>/approve")
@auth.user
def approve(name: str, identifier: str) -> Response:
    """Allow this one commit of a fork to run."""
    context = auth.context()
    approvals.approve(context, projects.by_name(context.db, name), identifier, auth.current_user())
    return redirect(url_for("commits.show", name=name, identifier=identifier), 303)


def _outcomes(db: Database, config: Config, found: list[Execution]) -> list[Outcome]:
    latest = metadata.latest_of(db, [execution.id for execution in found])
    return [
        Outcome(
            execution=execution,
            latest=latest.get(execution.id, {}),
            tail=_tail(db, config.logs_dir, execution) if i < SHOWN_TAILS else Markup(),
            waits=wait_reason.wait_reason(auth.context(), execution),
        )
        for i, execution in enumerate(found)
    ]


def _tail(db: Database, logs_dir: Path, execution: Execution) -> Markup:
    at = logs.length(db, execution)
    lines = logs.read(logs_dir, execution, at, max(0, at.lines - TAIL_LINES), TAIL_LINES)
    return Markup("\n".join(loglines.plain(line) for line in lines))  # noqa: S704  (escaped there)


def _unfinished(*found: Sequence[Execution | Task | Pipeline]) -> bool:
    return any(item.state in UNFINISHED for items in found for item in items)
