"""The head of an execution's page, which all of its tabs share; a live page fetches it again when the state changes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from flask import render_template

from core import clock
from core.model import Execution, Project
from core.states import FINAL
from web.http import auth
from web.http.pages import groups
from web.services.presentation import execution_status, headline, stages
from web.store import commits, executions, logs, metadata, projects
from web.store.db import Database

PATH = "/p/<name>/executions/<int(max=2147483647):counter>"
TABS = ("overview", "log", "charts", "outputs", "resources", "configuration")


def requested_execution(db: Database, name: str, counter: int) -> tuple[Project, Execution]:
    project = projects.by_name(db, name)
    return project, executions.by_counter(db, project.id, counter)


def render_tab(tab: str, project: Project, execution: Execution, **values: Any) -> str:
    """Return the page of one of TABS."""
    db = auth.db()
    lines = logs.length(db, execution).lines
    shared = {
        "tab": tab,
        "tabs": TABS,
        "commit": commits.get(db, execution.commit_id),
        "place": groups.places(db, [execution]).get(execution.id),
        "position": f"{lines}-{metadata.count(db, execution.id)}",
        "final": execution.state in FINAL,
    }
    return render_template(f"execution_{tab}.html", **{**_head(project, execution), **shared, **values})


def render_head(project: Project, execution: Execution) -> str:
    return render_template("_execution_head.html", **_head(project, execution))


def start_us(execution: Execution) -> int:
    """Return the start of the time axis of its charts, in microseconds."""
    return int(clock.parse(execution.started_at or execution.created_at).timestamp() * 1e6)


def _head(project: Project, execution: Execution) -> dict[str, Any]:
    context = auth.context()
    latest = metadata.latest(context.db, execution.id)
    key = headline.choose(latest)
    usual_s = stages.usual_s(context.db, execution)
    ran_s = execution_status.seconds(execution)
    return {
        "project": project,
        "execution": execution,
        "status": execution_status.execution_status(context, execution),
        "latest": latest,
        "main_metric": key,
        "stages": stages.stages(execution, datetime.now(UTC)),
        "usual_s": usual_s,
        "left": stages.left_text(usual_s, ran_s) if usual_s and ran_s is not None else "",
    }
