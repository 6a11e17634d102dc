"""The first page: what happens now, the machines, and all projects with their last push and its results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from flask import Blueprint, render_template

from core.model import Commit, Execution, Project
from core.states import State
from web.config.metadata import to_number
from web.http import auth, changes
from web.http.pages.addresses import get_base_url
from web.http.pages.paging import ListPage
from web.services.presentation import charts, headline, machines, now, troubles, verdicts
from web.services.presentation.charts import Bar
from web.services.presentation.verdict import Verdict
from web.store import commits, execution_table, executions, metadata, projects, pushes
from web.store.db import Database
from web.store.pushes import Push

blueprint = Blueprint("projects", __name__)

PER_PAGE = 30
LAST_EXECUTIONS = 20


@dataclass(frozen=True, kw_only=True)
class Summary:
    """`counts` is by state; `bars` are of its newest executions, the newest one last.

    `key` is the main metric of these, `value` its last value, and `spark` a line through the values of all.
    """

    project: Project
    push: Push | None
    commit: Commit | None
    verdict: Verdict | None
    counts: dict[str, int]
    bars: list[Bar]
    key: str | None = None
    value: float | None = None
    spark: str = ""


@blueprint.get("/")
@auth.read
@changes.shows(
    changes.PROJECTS, changes.RUNS, changes.VALUES, changes.PUSHES, changes.ONLINE, changes.RUNNERS, changes.ANY_RUNS
)
def listing() -> str:
    db, visible = auth.get_db(), auth.list_visible_project_ids()
    everything = {project.id: project for project in projects.list_projects(db, visible)}
    pushed, started = (
        pushes.map_newest_by_project(db, list(everything)),
        executions.map_newest_times(db, list(everything)),
    )

    def active_at(project: Project) -> str:
        at = pushed[project.id].created_at if project.id in pushed else ""
        return max(at, started.get(project.id, "")) or project.created_at

    page = ListPage.requested(PER_PAGE).with_total(len(everything))
    shown = sorted(everything.values(), key=active_at, reverse=True)[page.offset : page.offset + page.size]
    names = {project.id: project.name for project in everything.values()}
    of_all = executions.count_by_state(db, list(everything))
    summaries = _summaries(db, shown, pushed, of_all)
    return render_template(
        "projects.html",
        summaries=summaries,
        now=now.collect_activity(auth.get_context(), visible),
        total={state: sum(counts.get(state, 0) for counts in of_all.values()) for state in State},
        names=names,
        project_of={repository.id: repository.project_id for repository in projects.list_repositories(db, *everything)},
        machines=machines.list_machines(db, names),
        page=page,
        troubles=troubles.list_troubles(db, list(everything.values())),
        base_url=get_base_url(),
    )


def _summaries(
    db: Database, found: Sequence[Project], pushes: dict[int, Push], counts: dict[int, dict[str, int]]
) -> list[Summary]:
    ids = [project.id for project in found]
    shown = [pushes[project_id] for project_id in ids if project_id in pushes]
    of = commits.get_many(db, {push.commit_id for push in shown if push.commit_id})
    sentences = verdicts.map_by_push(db, shown, of)
    last = execution_table.list_newest_by_project(db, ids, LAST_EXECUTIONS)
    summaries = [
        Summary(
            project=project,
            push=(push := pushes.get(project.id)),
            commit=of.get(push.commit_id or 0) if push else None,
            verdict=sentences[push.id] if push else None,
            counts=counts[project.id],
            bars=charts.draw_bars(last[project.id]),
        )
        for project in found
    ]
    return _with_metrics(db, summaries, last)


def _with_metrics(db: Database, summaries: list[Summary], last: dict[int, list[Execution]]) -> list[Summary]:
    """Add the main metric of each project's newest successful execution, with its values over the last executions."""
    done = {project_id: [e for e in found if e.state is State.COMPLETE] for project_id, found in last.items()}
    newest = metadata.map_latest_by_execution(db, [found[-1].id for found in done.values() if found])
    keys = {project_id: headline.choose(newest.get(found[-1].id, {})) for project_id, found in done.items() if found}
    ids = [execution.id for project_id, found in done.items() if keys.get(project_id) for execution in found]
    values = metadata.map_latest_by_execution(db, ids, sorted({key for key in keys.values() if key}))
    result = []
    for summary in summaries:
        if key := keys.get(summary.project.id):
            printed = [to_number(values.get(execution.id, {}).get(key)) for execution in done[summary.project.id]]
            numbers = [(float(index), number) for index, number in enumerate(printed) if number is not None]
            value = numbers[-1][1] if numbers else None
            summary = replace(summary, key=key, value=value, spark=charts.draw_polyline(numbers))
        result.append(summary)
    return result
