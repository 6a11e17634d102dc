"""The commits of a project; and one commit with everything launched for it, and why other targets were not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from flask import Blueprint, redirect, render_template, url_for
from markupsafe import Markup
from werkzeug import Response

from core.model import Commit, Execution
from core.states import State
from web.http import auth, changes
from web.http.pages import commit_cards, groups
from web.http.pages.addresses import get_base_url
from web.http.pages.commit_cards import Run
from web.http.pages.groups import Mark
from web.http.pages.paging import ListPage
from web.services.context import Context
from web.services.presentation import commit_facts, formats, loglines, verdicts
from web.services.presentation.verdict import Verdict
from web.services.scheduling import wait_reason
from web.services.triggers import approvals
from web.store import approvals as approval_store
from web.store import commits, execution_table, logs, projects, pull_requests, pushes, statuses
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
class LogExcerpt:
    """The last log lines of an execution that runs or failed."""

    execution: Execution
    lines: Markup


@blueprint.get("/p/<name>/commits/")
@auth.read
@changes.shows(changes.RUNS, changes.PUSHES)
def listing(name: str) -> str:
    db = auth.get_db()
    project = projects.get_by_name(db, name)
    page = ListPage.requested(PER_PAGE)
    found, total = commits.search(db, [project.id], adhoc=None, limit=page.size, offset=page.offset)
    ids = [commit.id for commit in found]
    marks, launched = groups.map_marks_by_commit(db, ids), execution_table.list_newest_by_commit(db, ids, DOTS)
    runs = {commit_id: _counts([*(mark.group for mark in marks[commit_id]), *launched[commit_id]]) for commit_id in ids}
    sentences = verdicts.map_by_commit(db, found, runs)
    rows = [
        CommitRow(commit=commit, marks=marks[commit.id], executions=launched[commit.id], verdict=sentences[commit.id])
        for commit in found
    ]
    return render_template(
        "commits.html",
        project=project,
        rows=rows,
        page=page.with_total(total),
        base_url=get_base_url(),
        hosted=projects.is_hosted(db, project.id),
        waiting=approvals.get_overview(db, project),
        waits_for_approval={item.push.after for item in approval_store.list_waiting(db, project.id)},
    )


@blueprint.get("/p/<name>/commits/<identifier>/")
@auth.read
@changes.shows(changes.RUNS, changes.VALUES, changes.LOGS, changes.PUSHES, changes.ONLINE)
def show(name: str, identifier: str) -> str:
    db = auth.get_db()
    project = projects.get_by_name(db, name)
    commit = commits.get_by_identifier(db, project.id, identifier)
    found = commit_cards.list_runs(db, commit)
    repository = projects.get_repository(db, commit.repository_id)
    facts = commit_facts.collect_facts(auth.get_context(), repository, commit)
    runs = _counts([run for of in found.by_target().values() for run in of])
    of_commit = pushes.list_for_commit(db, commit.id)
    skipped = dict(pair for push in reversed(of_commit) for pair in push.skipped)
    return render_template(
        "commit.html",
        project=project,
        commit=commit,
        verdict=verdicts.map_by_commit(db, [commit], {commit.id: runs})[commit.id],
        pushes=of_commit,
        pull_requests=pull_requests.list_pull_requests(db, commit.id),
        waits_for_approval=bool(approval_store.list_waiting(db, project.id, identifier)),
        approval=approval_store.find(db, commit.repository_id, identifier),
        cards=commit_cards.build_cards(db, commit, facts.parent, found, skipped),
        waits=wait_reason.map_wait_reasons(auth.get_context(), found.executions),
        tails=_tails(auth.get_context(), found.executions),
        facts=facts,
        posted=list(statuses.map_posted(db, commit.repository_id, identifier).values()),
        host=formats.format_forge_name(repository.forge),
    )


@blueprint.post("/p/<name>/commits/<identifier>/approve")
@auth.launch
def approve(name: str, identifier: str) -> Response:
    """Allow this one commit of a fork to run."""
    context = auth.get_context()
    approvals.approve(context, projects.get_by_name(context.db, name), identifier, auth.get_current_user())
    return redirect(url_for("commits.show", name=name, identifier=identifier), 303)


def _tails(context: Context, found: Sequence[Execution]) -> list[LogExcerpt]:
    shown = [execution for execution in reversed(found) if execution.state in WITH_TAIL][:SHOWN_TAILS]
    lengths = logs.map_lengths(context.db, [execution.id for execution in shown])
    logs_dir = context.config.logs_dir
    return [LogExcerpt(execution=one, lines=_tail(logs_dir, one, lengths.get(one.id))) for one in shown]


def _tail(logs_dir: Path, execution: Execution, at: LogLength | None) -> Markup:
    if at is None:
        return Markup()
    lines = logs.read(logs_dir, execution, at, max(0, at.lines - TAIL_LINES), TAIL_LINES)
    return Markup("\n".join(loglines.render_plain_line(line) for line in lines))  # noqa: S704  (escaped there)


def _counts(found: Iterable[Run]) -> list[RunCount]:
    return [RunCount(target=commit_cards.get_target_of_run(run), state=run.state) for run in found]
