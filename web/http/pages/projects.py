"""The first page: all projects with their last push and its results."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Blueprint, render_template

from core.model import Commit, Execution, Project
from core.states import UNFINISHED
from web.http import auth
from web.http.pages.addresses import base_url
from web.services.presentation import troubles
from web.store import commits, executions, projects
from web.store.commits import Push
from web.store.db import Database
from web.store.selection import Selection

blueprint = Blueprint("projects", __name__)

LAST_EXECUTIONS = 24


@dataclass(frozen=True, kw_only=True)
class Summary:
    """`counts` is by state; `last` are its newest executions, the newest one last."""

    project: Project
    push: Push | None
    commit: Commit | None
    counts: dict[str, int]
    last: list[Execution]


@blueprint.get("/")
@auth.user
def listing() -> str:
    db = auth.db()
    found = sorted((_summary(db, project) for project in projects.listing(db)), key=_pushed_at, reverse=True)
    live = any(state in summary.counts for summary in found for state in UNFINISHED)
    trouble = [one for summary in found for one in troubles.of_project(db, summary.project)]
    return render_template("projects.html", summaries=found, live=live, troubles=trouble, base_url=base_url())


def _summary(db: Database, project: Project) -> Summary:
    push = commits.newest_push(db, project.id)
    last, _ = executions.search(db, Selection(project_id=project.id, limit=LAST_EXECUTIONS))
    return Summary(
        project=project,
        push=push,
        commit=commits.get(db, push.commit_id) if push and push.commit_id else None,
        counts=executions.counts(db, project.id),
        last=last[::-1],
    )


def _pushed_at(summary: Summary) -> str:
    return summary.push.created_at if summary.push else summary.project.created_at
