"""Launch executions, tasks and pipelines: `POST /executions/`, `/tasks/` and `/pipelines/`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from flask import Response, request

from core.errors import InvalidFields, NotFound
from core.groups import Pipeline, Task
from core.model import Commit, Execution, Origin, Project, TargetKind
from web.config.overrides import Overrides
from web.http import auth
from web.http.api import executions as execution_views
from web.http.api import pipeline_body, query, task_body
from web.http.api import pipelines as pipeline_views
from web.http.api import tasks as task_views
from web.http.api.answers import json_response
from web.http.api.body import Fields
from web.services.launch import LaunchRequest, launch
from web.services.repositories import commit_names
from web.store.db import Database

CLIENTS = {"valohai-cli": "vh"}  # by the first word of their User-Agent
CLIENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")
IGNORED = {
    "environment_variable_groups": "variable groups do not exist here: set variables of the project",
    "runtime_config_preset": "presets do not exist here: choose an environment",
}


@auth.launch
def create_execution() -> Response:
    """Run a step. Values that are not given come from valohai.yaml of the commit."""
    db, body = auth.db(), Fields(query.fields())
    project = _project(db, body)
    overrides, ignored = _overrides(body), _ignored(body)
    step = body.text("step", required=True)
    commit = _commit(db, project, body)
    body.check()
    made = launch(auth.context(), _request(project, commit, TargetKind.STEP, step, overrides, ignored))
    assert isinstance(made, Execution)  # noqa: S101
    return json_response(execution_views.whole(db, made), 201)


@auth.launch
def create_task() -> Response:
    """Run a step many times: a search that valohai.yaml need not declare, or `task`, one that it declares."""
    db, body = auth.db(), Fields(query.fields())
    project = _project(db, body)
    overrides, ignored = _overrides(body), _ignored(body)
    declared = body.text("task")
    step = body.text("step", required=not declared)
    commit = _commit(db, project, body)
    body.check()
    wanted = _request(project, commit, TargetKind.TASK, declared, overrides, ignored)
    if not declared:
        items, varied = task_body.task_items(commit.config, step, body)
        body.check()
        given = replace(overrides, parameters=varied)
        wanted = replace(wanted, name=step, config=items, overrides=given)
    made = launch(auth.context(), wanted)
    assert isinstance(made, Task)  # noqa: S101
    return json_response(task_views.objects(db, [made])[0], 201)


@auth.launch
def create_pipeline() -> Response:
    """Run a pipeline: the nodes and edges of the body, or `blueprint`, one that valohai.yaml declares."""
    db, body = auth.db(), Fields(query.fields())
    project = _project(db, body)
    blueprint, overrides, ignored = body.text("blueprint"), _overrides(body), _ignored(body)
    if blueprint:
        commit = _commit(db, project, body)
        body.check()
        wanted = _request(project, commit, TargetKind.PIPELINE, blueprint, overrides, ignored)
    else:
        commit = _commit(db, project, body, pipeline_body.commit_name(body))
        body.check()
        built = pipeline_body.pipeline_items(db, project, commit, body)
        body.check()
        given = replace(overrides, parameters=built.parameters, priority=overrides.priority or built.priority)
        wanted = _request(project, commit, TargetKind.PIPELINE, built.name, given, ignored)
        wanted = replace(wanted, config=built.items, reused=built.reused)
    made = launch(auth.context(), wanted)
    assert isinstance(made, Pipeline)  # noqa: S101
    return json_response(pipeline_views.whole(db, made), 201)


def _request(
    project: Project, commit: Commit, kind: TargetKind, name: str, overrides: Overrides, ignored: list[str]
) -> LaunchRequest:
    return LaunchRequest(
        origin=Origin.API,
        project=project,
        commit=commit,
        creator=auth.current_user(),
        kind=kind,
        name=name,
        overrides=overrides,
        client=client(request.user_agent.string),
        key=request.headers.get("Idempotency-Key", ""),
        why=". ".join(ignored),
    )


def client(user_agent: str) -> str:
    """Return the short name of the program that sends a User-Agent, "" if it gives none."""
    found = CLIENT.match(user_agent)
    return CLIENTS.get(found[0], found[0]) if found else ""


def _project(db: Database, body: Fields) -> Project:
    name = body.text("project", required=True)
    body.check()
    return query.project(db, name)


def _commit(db: Database, project: Project, body: Fields, name: str = "") -> Commit:
    """Return the commit that the body names. Raises InvalidFields with all problems of the body so far."""
    wanted = name or body.text("commit", required=True)
    try:
        return commit_names.find_commit(db, project, wanted)
    except NotFound as error:
        if wanted:
            body.add(str(error), "commit", "does_not_exist")
        raise InvalidFields(body.problems) from None


def _overrides(body: Fields) -> Overrides:
    runtime: Mapping[str, Any] = body.mapping("runtime_config")
    if runtime.get("remote_debug"):
        body.add("remote debugging is not supported here: run the step without --debug-port", "runtime_config")
    autorestart = runtime.get("autorestart")
    command = body.texts("command") if isinstance(body.given.get("command"), list) else body.text("command")
    return Overrides(
        parameters=body.mapping("parameters"),
        inputs=body.url_lists("inputs"),
        environment_variables=_without_null(body.mapping("environment_variables")),
        image=body.text("image"),
        command=command,
        environment=body.text("environment"),
        time_limit_s=body.number("time_limit"),
        autorestart=autorestart if isinstance(autorestart, bool) else None,
        priority=body.number("priority") or 0,
        title=body.text("title"),
        tags=body.texts("tags"),
    )


def _without_null(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _ignored(body: Fields) -> list[str]:
    """Return a sentence for each given field that has no effect."""
    return [f"{field} is ignored: {why}" for field, why in IGNORED.items() if body.given.get(field)]
