"""Launch executions, tasks and pipelines: `POST /executions/`, `/tasks/` and `/pipelines/`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, NotRequired, TypeVar

from flask import request
from msgspec import Meta

from core.errors import InvalidFields, NotFound
from core.groups import Pipeline, Task
from core.model import Commit, Execution, Origin, Project, TargetKind
from web.config.overrides import Overrides
from web.http import auth
from web.http.api import executions as execution_views
from web.http.api import pipeline_body, query, shapes, task_body
from web.http.api import pipelines as pipeline_views
from web.http.api import tasks as task_views
from web.http.api.answers import Created
from web.http.api.body import Fields, Given, InProject
from web.http.api.parameters import Parameter, takes
from web.services.launch import LaunchRequest, launch
from web.services.repositories import commit_names
from web.store.db import Database

T = TypeVar("T")
CLIENTS = {"valohai-cli": "vh"}  # names of clients by the first word of their User-Agent
CLIENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")
IGNORED = {
    "environment_variable_groups": "variable groups do not exist here: set variables of the project",
    "runtime_config_preset": "presets do not exist here: choose an environment",
}
KEY = Parameter(
    "Idempotency-Key", "A repeated request with the same key gets the first run; kept for a day.", place="header"
)
CommitName = Annotated[Given, Meta(description="A SHA, its first digits, or a branch.", examples=["main"])]


class Launch(InProject):
    """Values of a run. Those that are not given come from valohai.yaml of the commit."""

    parameters: NotRequired[
        Annotated[
            dict[str, Any] | None, Meta(description="Values by name; null is not set.", examples=[{"epochs": 50}])
        ]
    ]
    inputs: NotRequired[
        Annotated[
            dict[str, list[str] | str | None] | None,
            Meta(description="URLs by input; an empty list means that the input has no files."),
        ]
    ]
    environment_variables: NotRequired[dict[str, str | None] | None]
    image: NotRequired[str | None]
    command: NotRequired[list[str] | str | None]
    environment: NotRequired[Annotated[str | None, Meta(description="Name or UUID of an environment.")]]
    time_limit: NotRequired[Annotated[int | None, Meta(description="Seconds.")]]
    priority: NotRequired[Annotated[int | None, Meta(description="A higher one goes first.")]]
    title: NotRequired[str | None]
    tags: NotRequired[list[str] | None]
    runtime_config: NotRequired[Annotated[dict[str, Any] | None, Meta(description="`autorestart`: true or false.")]]
    environment_variable_groups: NotRequired[Annotated[Any, Meta(description="Ignored.")]]
    runtime_config_preset: NotRequired[Annotated[Any, Meta(description="Ignored.")]]


class NewExecution(Launch):
    """A run of a step."""

    commit: CommitName
    step: Annotated[Given, Meta(description="Name of a step.", examples=["train"])]


class NewTask(Launch, task_body.Search):
    """A search. It has a `task`, the name of one that valohai.yaml declares, or a `step` and what varies."""

    commit: CommitName
    task: NotRequired[Annotated[str | None, Meta(examples=["search"])]]
    step: NotRequired[str | None]


class NewPipeline(Launch, pipeline_body.Graph):
    """A pipeline. It has a `blueprint`, the name of one that valohai.yaml declares, or nodes and edges."""

    commit: NotRequired[
        Annotated[str | None, Meta(description="By default that of the templates of the nodes.", examples=["main"])]
    ]
    blueprint: NotRequired[Annotated[str | None, Meta(examples=["full"])]]


@auth.launch
@takes(KEY, body=NewExecution)
def create_execution() -> Created[shapes.ExecutionDetail]:
    """Run a step. Values that are not given come from valohai.yaml of the commit."""
    db, body = auth.get_db(), Fields(NewExecution)
    project = query.get_project_of_body(db, body)
    overrides, ignored = _overrides(body), _ignored(body)
    commit = _commit(db, project, body, body.values.get("commit"))
    body.check()
    made = launch(
        auth.get_context(), _request(project, commit, TargetKind.STEP, body.values["step"], overrides, ignored)
    )
    assert isinstance(made, Execution)  # noqa: S101
    return Created(execution_views.serialize_detail(db, made))


@auth.launch
@takes(KEY, body=NewTask)
def create_task() -> Created[shapes.Task]:
    """Run a task: `task`, the name of one that valohai.yaml declares, or else a search of a `step`."""
    db, body = auth.get_db(), Fields(NewTask)
    project = query.get_project_of_body(db, body)
    overrides, ignored = _overrides(body), _ignored(body)
    declared, step = body.values.get("task") or "", body.values.get("step") or ""
    if not declared and not step:
        body.add("step is required", "step", "required")
    commit = _commit(db, project, body, body.values.get("commit"))
    body.check()
    wanted = _request(project, commit, TargetKind.TASK, declared, overrides, ignored)
    if not declared:
        items, varied = task_body.build_task_items(commit.config, step, body)
        body.check()
        given = replace(overrides, parameters=varied)
        wanted = replace(wanted, name=step, config=items, overrides=given)
    made = launch(auth.get_context(), wanted)
    assert isinstance(made, Task)  # noqa: S101
    return Created(task_views.serialize_tasks(db, [made])[0])


@auth.launch
@takes(KEY, body=NewPipeline)
def create_pipeline() -> Created[shapes.PipelineDetail]:
    """Run a pipeline: `blueprint`, the name of one that valohai.yaml declares, or else nodes and edges."""
    db, body = auth.get_db(), Fields(NewPipeline)
    project = query.get_project_of_body(db, body)
    blueprint, overrides, ignored = body.values.get("blueprint") or "", _overrides(body), _ignored(body)
    if blueprint:
        commit = _commit(db, project, body, body.values.get("commit"))
        body.check()
        wanted = _request(project, commit, TargetKind.PIPELINE, blueprint, overrides, ignored)
    else:
        commit = _commit(db, project, body, pipeline_body.read_commit_name(body) or body.values.get("commit"))
        body.check()
        built = pipeline_body.build_pipeline_items(db, project, commit, body)
        body.check()
        given = replace(overrides, parameters=built.parameters, priority=overrides.priority or built.priority)
        wanted = _request(project, commit, TargetKind.PIPELINE, built.name, given, ignored)
        wanted = replace(wanted, config=built.items, reused=built.reused)
    made = launch(auth.get_context(), wanted)
    assert isinstance(made, Pipeline)  # noqa: S101
    return Created(pipeline_views.serialize_detail(db, made))


def _request(
    project: Project, commit: Commit, kind: TargetKind, name: str, overrides: Overrides, ignored: list[str]
) -> LaunchRequest:
    return LaunchRequest(
        origin=Origin.API,
        project=project,
        commit=commit,
        creator=auth.get_current_user(),
        kind=kind,
        name=name,
        overrides=overrides,
        client=parse_client(request.user_agent.string),
        key=KEY.text(),
        why=". ".join(ignored),
    )


def parse_client(user_agent: str) -> str:
    """Return the short name of the program that sends a User-Agent, "" if it gives none."""
    found = CLIENT.match(user_agent)
    return CLIENTS.get(found[0], found[0]) if found else ""


def _commit(db: Database, project: Project, body: Fields[Launch], name: str | None) -> Commit:
    """Return the commit with this name. Raises InvalidFields with all problems of the body so far."""
    if not name and not any(problem.field == "commit" for problem in body.problems):
        body.add("commit is required", "commit", "required")
    try:
        return commit_names.find_commit(db, project, name or "")
    except NotFound as error:
        if name:
            body.add(str(error), "commit", "does_not_exist")
        raise InvalidFields(body.problems) from None


def _overrides(body: Fields[Launch]) -> Overrides:
    given = body.values
    runtime: Mapping[str, Any] = given.get("runtime_config") or {}
    if runtime.get("remote_debug"):
        body.add("remote debugging is not supported here: run the step without --debug-port", "runtime_config")
    autorestart, command = runtime.get("autorestart"), given.get("command") or ""
    return Overrides(
        parameters=given.get("parameters") or {},
        inputs={
            name: [urls] if isinstance(urls, str) else urls for name, urls in _without_null(given.get("inputs")).items()
        },
        environment_variables=_without_null(given.get("environment_variables")),
        image=given.get("image") or "",
        command=command if isinstance(command, str) else tuple(command),
        environment=given.get("environment") or "",
        time_limit_s=given.get("time_limit"),
        autorestart=autorestart if isinstance(autorestart, bool) else None,
        priority=given.get("priority") or 0,
        title=given.get("title") or "",
        tags=tuple(given.get("tags") or ()),
    )


def _without_null(values: Mapping[str, T | None] | None) -> dict[str, T]:
    return {name: value for name, value in (values or {}).items() if value is not None}


def _ignored(body: Fields[Launch]) -> list[str]:
    """Return a sentence for each given field that has no effect."""
    return [f"{field} is ignored: {why}" for field, why in IGNORED.items() if body.given.get(field)]
