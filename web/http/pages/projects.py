"""The first page: all projects with their last push and its results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flask import Blueprint, render_template

from core.model import Commit, Execution, Project
from web.http import auth, changes
from web.http.pages.addresses import base_url
from web.services.presentation import troubles, verdicts
from web.services.presentation.verdict import Verdict
from web.store import commits, execution_table, executions, projects
from web.store.commits import Push
from web.store.db import Database

blueprint = Blueprint("projects", __name__)

LAST_EXECUTIONS = 24


@dataclass(frozen=True, kw_only=True)
class Summary:
    """`counts` is by state; `last` are its newest executions, the newest one last."""

    project: Project
    push: Push | None
    commit: Commit | None
    verdict: Verdict | None
    counts: dict[str, int]
    last: list[Execution]


@blueprint.get("/")
@auth.read
@changes.shows(changes.PROJECTS, changes.RUNS, changes.VALUES, changes.PUSHES, changes.ONLINE)
def listing() -> str:
    db = auth.db()
    everything = projects.listing(db, auth.visible_projects())
    found = sorted(_summaries(db, everything), key=_pushed_at, reverse=True)
    trouble = troubles.of_projects(db, [summary.project for summary in found])
    return render_template("projects.html", summaries=found, troubles=trouble, base_url=base_url())


def _summaries(db: Database, found: Sequence[Project]) -> list[Summary]:
    ids = [project.id for project in found]
    pushes, counts = commits.newest_pushes(db, ids), executions.counts(db, ids)
    of = commits.get_many(db, {push.commit_id for push in pushes.values() if push.commit_id})
    said = verdicts.of_pushes(db, list(pushes.values()), of)
    last = execution_table.newest_of_projects(db, ids, LAST_EXECUTIONS)
    return [
        Summary(
            project=project,
            push=(push := pushes.get(project.id)),
            commit=of.get(push.commit_id or 0) if push else None,
            verdict=said[push.id] if push else None,
            counts=counts[project.id],
            last=last[project.id],
        )
        for project in found
    ]


def _pushed_at(summary: Summary) -> str:
    return summary.push.created_at if summary.push else summary.project.created_at
