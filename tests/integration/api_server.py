"""A server with its own data directory, without Redis and without a process: runners and clients use real HTTP."""

from __future__ import annotations

import functools
import hashlib
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import by_hand
import made_once
from flask import Flask
from serving import Serving
from werkzeug.test import TestResponse

from core.config import Config, build_config
from core.groups import Pipeline, Task
from core.model import Commit, Execution, Project
from web.config.steps.parse import Configuration, parse
from web.config.steps.resolve import resolve
from web.http.app import create_app
from web.services.context import Context
from web.services.scheduling import dispatch
from web.store import commits, executions, pipelines, projects, runners, tasks, users
from web.store.commits import NewCommit
from web.store.db import connect, transaction

NO_REDIS = {"redis": {"url": "redis://127.0.0.1:1/0"}}  # nobody listens there, which the server bears
RUNNER_TOKENS = {"one": "pm_runner_one", "two": "pm_runner_two"}
YAML = b"""
- step:
    name: Train model
    image: python:3.12
    command: python train.py {parameters}
    parameters:
      - {name: steps, type: integer, default: 300}
      - {name: layers, type: integer, multiple: separate, default: [3, 4]}
      - {name: alpha, type: float, default: 0.5}
    inputs:
      - {name: images, default: ["https://example.org/a.png", "https://example.org/b.png"]}
      - {name: labels, optional: true}
"""


@functools.cache
def _parsed(text: bytes) -> Configuration:
    return parse(text)


class ApiServer:
    """The application with an admin, two runners and one project `demo` that has one commit."""

    def __init__(self, data: Path, **sections: Any) -> None:
        self.config: Config = build_config(NO_REDIS | sections, data)
        self.token = made_once.prepare(self.config) or ""
        self.app: Flask = create_app(self.config)
        self.client = self.app.test_client()
        self.db = connect(self.config.database)
        admin = users.find_by_name(self.db, "admin")
        assert admin is not None
        self.admin = admin
        with transaction(self.db):
            for name, token in RUNNER_TOKENS.items():
                runners.add(self.db, name, token, ["default"])
        self.demo = self.project("demo")
        self.commit = self.add_commit(self.demo)

    @property
    def context(self) -> Context:
        return Context(db=self.db, config=self.config, vault=self.app.extensions["pushmill"].vault)

    def close(self) -> None:
        self.db.close()
        local = self.app.extensions["pushmill"].local
        if hasattr(local, "context"):
            local.context.db.close()

    # what is there before anybody asks

    def project(self, name: str) -> Project:
        with transaction(self.db):
            project = projects.add(self.db, name, self.admin.id, f"about {name}")
            projects.add_repository(
                self.db, project.id, forge=projects.HOSTED, url=None, secret=self.context.vault.encrypt(b"s")
            )
            projects.set_badge_public(self.db, project.id, True)
        return projects.get(self.db, project.id)

    def add_commit(self, project: Project, identifier: str = "", text: bytes = YAML, **columns: Any) -> Commit:
        """Add a commit whose valohai.yaml is `text`."""
        found = _parsed(text)
        values: dict[str, Any] = {
            "project_id": project.id, "repository_id": projects.list_repositories(self.db, project.id)[0].id,
            "identifier": identifier or hashlib.sha1(project.uuid.encode()).hexdigest(), "ref": "main",
            "message": "first line\n\nbody", "author": "Ada", "committed_at": "2026-11-22T23:39:48.000000Z",
            "yaml_path": "valohai.yaml", "config_state": "ok", "config": found.config, "problems": found.problems,
        }  # fmt: skip
        with transaction(self.db):
            return commits.upsert_commit(self.db, NewCommit(**values | columns))

    def add_execution(
        self, commit: Commit | None = None, title: str = "", images: Sequence[str] | None = None, **more: Any
    ) -> Execution:
        """`images` are URLs instead of the step's own; `more` is for `launch`."""
        commit = commit or self.commit
        resolved = resolve(commit.config, "Train model", inputs={"images": images} if images else None)
        with transaction(self.db):
            project = projects.get(self.db, commit.project_id)
            return by_hand.execution(self.context, project, commit, resolved, self.admin, title=title, **more)

    def add_task(self, name: str = "lr-search", project: Project | None = None, **more: Any) -> Task:
        """Add a task in `created`; `more` are columns."""
        project = project or self.demo
        values = {
            "project_id": project.id, "commit_id": self.commit.id, "name": name, "step": "Train model",
            "type": "grid_search", "config": [], "parameters": {}, "inputs": {}, "environment_variables": {}, "seed": 1,
            "creator_id": self.admin.id,
        }  # fmt: skip
        with transaction(self.db):
            return tasks.add(self.db, values | more)

    def add_pipeline(self, *nodes: tuple[str, str], name: str = "full", **more: Any) -> Pipeline:
        """Add a pipeline in `created` with nodes of these names and kinds; `more` are columns."""
        values = {
            "project_id": self.demo.id, "commit_id": self.commit.id, "name": name, "config": [], "parameters": {},
            "creator_id": self.admin.id,
        }  # fmt: skip
        with transaction(self.db):
            return pipelines.add(self.db, values | more, nodes)

    def execution(self, uuid: str) -> Execution:
        return executions.get_by_uuid(self.db, uuid)

    # a person

    def get(self, path: str, **query: Any) -> TestResponse:
        return self.client.get(f"/api/v0/{path}", query_string=query or None, headers=self.as_admin)

    def post(self, path: str, **options: Any) -> TestResponse:
        return self.client.post(f"/api/v0/{path}", headers=self.as_admin, **options)

    def json(self, path: str, **query: Any) -> Any:
        answer = self.get(path, **query)
        assert answer.status_code == 200, answer.text
        return answer.json

    @property
    def as_admin(self) -> dict[str, str]:
        return {"Authorization": f"Token {self.token}"}

    # a runner

    def call(self, path: str, body: Any = None, runner: str = "one") -> TestResponse:
        headers = {"Authorization": f"Token {RUNNER_TOKENS[runner]}"}
        return self.client.post(f"/api/runner/{path}", json=body, headers=headers)

    def online(self, *names: str) -> None:
        for name in names or ("one",):
            assert self.call("heartbeat", {"slots": 10, "info": {"host": name}}, name).status_code == 200

    def placed(self, **given: Any) -> tuple[str, int]:
        """Add an execution that is placed on runner one; return its uuid and attempt."""
        self.online()
        execution = self.add_execution(**given)
        dispatch.dispatch(self.context, self.app.extensions["pushmill"].queues)
        return execution.uuid, self.execution(execution.uuid).attempt

    def started(self, **given: Any) -> tuple[str, int]:
        uuid, attempt = self.placed(**given)
        assert self.call(f"executions/{uuid}/claim", {"attempt": attempt, "resume": False}).status_code == 200
        return uuid, attempt

    def finished(self, state: str = "complete", **given: Any) -> str:
        uuid, attempt = self.started(**given)
        assert self.call(f"executions/{uuid}/final", {"attempt": attempt, "state": state}).status_code == 200
        return uuid

    def log(
        self, uuid: str, text: bytes, start: int, attempt: int = 1, stream: str = "stdout", **more: Any
    ) -> TestResponse:
        batch = {
            "attempt": attempt,
            "stream": stream,
            "start": start,
            "end": start + len(text),
            "first_us": 0,
            "last_us": 0,
        }
        headers = {"Authorization": f"Token {RUNNER_TOKENS[more.pop('runner', 'one')]}"}
        path = f"/api/runner/executions/{uuid}/log"
        return self.client.post(path, query_string=batch | more, data=text, headers=headers)

    def upload(
        self, execution: str, name: str, content: bytes, datum: str = "", attempt: int = 1, runner: str = "one"
    ) -> TestResponse:
        path = f"/api/runner/executions/{execution}/outputs/{datum or uuid.uuid4()}"
        headers = {"Authorization": f"Token {RUNNER_TOKENS[runner]}"}
        return self.client.put(path, query_string={"attempt": attempt, "name": name}, data=content, headers=headers)

    def stored(self, name: str = "model.bin", content: bytes = b"model", **given: Any) -> str:
        """Add a complete execution with an output; return the uuid of the output."""
        datum = str(uuid.uuid4())
        execution, attempt = self.started(**given)
        assert self.upload(execution, name, content, datum, attempt).status_code == 200
        assert self.call(f"executions/{execution}/final", {"attempt": attempt, "state": "complete"}).status_code == 200
        return datum


def problem(answer: TestResponse) -> str:
    """Return the sentence of an error, in either shape of API v0."""
    assert isinstance(answer.json, dict)
    ((field, found),) = answer.json.items()
    if answer.status_code != 400:
        assert field == "detail"
        return str(found)
    ((message, code),) = [(item["message"], item["code"]) for item in found]
    assert code
    return str(message)


def said(server: ApiServer, execution: str, stream: str | None = None, **query: Any) -> list[str]:
    events: list[Mapping[str, str]] = server.json(f"executions/{execution}/events/", **query)["events"]
    return [event["message"] for event in events if stream in (None, event["stream"])]


@contextmanager
def listening(app: Flask) -> Iterator[str]:
    """Serve the application during the block; yield its address on loopback."""
    server = Serving(app)
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.stop()
