"""The head of an execution's page, which all of its tabs share; a live page fetches it again when the state changes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from flask import render_template

from core.model import Execution, Project
from core.states import FINAL
from web.http import auth
from web.http.pages import groups
from web.services.presentation import execution_status, headline, stages
from web.store import commits, executions, logs, metadata, projects
from web.store.db import Database

PATH = "/p/<name>/executions/<int(max=2147483647):counter>"
TABS = ("overview", "log", "charts", "outputs", "resources", "configuration")


def get_project_and_execution(db: Database, name: str, counter: int) -> tuple[Project, Execution]:
    project = projects.get_by_name(db, name)
    return project, executions.get_by_counter(db, project.id, counter)


def render_tab(tab: str, project: Project, execution: Execution, **values: Any) -> str:
    """Return the page of one of TABS."""
    db = auth.get_db()
    lines = logs.get_length(db, execution).lines
    shared = {
        "tab": tab,
        "tabs": TABS,
        "commit": commits.get(db, execution.commit_id),
        "place": groups.map_places(db, [execution]).get(execution.id),
        "position": f"{lines}-{metadata.count(db, execution.id)}",
        "final": execution.state in FINAL,
    }
    return render_template(f"execution_{tab}.html", **{**_head(project, execution), **shared, **values})


def render_head(project: Project, execution: Execution) -> str:
    return render_template("_execution_head.html", **_head(project, execution))


def _head(project: Project, execution: Execution) -> dict[str, Any]:
    context = auth.get_context()
    latest = metadata.get_latest(context.db, execution.id)
    key = headline.choose(latest)
    usual_s = stages.find_usual_duration(context.db, execution)
    ran_s = execution_status.compute_run_seconds(execution)
    return {
        "project": project,
        "execution": execution,
        "status": execution_status.get_status(context, execution),
        "latest": latest,
        "main_metric": key,
        "stages": stages.list_stages(execution, datetime.now(UTC)),
        "usual_s": usual_s,
        "left": stages.format_time_left(usual_s, ran_s) if usual_s and ran_s is not None else "",
    }
