"""What the real `vh` command line client launches: executions, tasks and pipelines of a commit."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from api_server import ApiServer, listening
from site_client import Person
from test_api_launches import words
from vh_client import Vh

from web.services import pipelines as pipeline_service
from web.services.executions import environments
from web.store import executions, pipelines, tasks
from web.store.db import execute

YAML = """
- step:
    name: Train model
    image: python:3.12
    command: python train.py {parameters}
    parameters:
      - {name: max_steps, type: integer, default: 300, min: 1, max: 1000}
      - {name: rate, type: float, optional: true}
      - {name: label, type: string, default: a, choices: [a, b, c]}
      - {name: layers, type: integer, multiple: separate, default: [3, 4]}
      - {name: verbose, type: flag, default: true}
    inputs:
      - {name: images, default: ["https://example.org/a.png"]}
      - {name: labels, optional: true}
    environment-variables:
      - {name: MODE, default: slow}
- step: {name: prepare, image: python:3.12, command: python prepare.py}
- task:
    name: search
    step: Train model
    type: grid_search
    parameters:
      - {name: max_steps, style: multiple, rules: {items: [1, 2, 3]}}
      - {name: rate, style: linear, rules: {start: 0, end: 1, step: 0.5}}
- task:
    name: randomly
    step: Train model
    type: random_search
    execution-count: 4
    parameters: [{name: rate, style: random, rules: {min: 0, max: 1}}]
- task:
    name: aimed
    step: Train model
    type: bayesian_tpe
    execution-count: 4
    execution-batch-size: 2
    optimization-target-metric: loss
    optimization-target-value: 0.1
    stop-condition: loss < 0.1
    parameters: [{name: rate, style: random, rules: {min: 0, max: 1}}]
- pipeline:
    name: full
    parameters:
      - {name: steps, targets: [train.parameters.max_steps], default: 7}
    nodes:
      - {name: prepare, type: execution, step: prepare}
      - name: train
        type: execution
        step: Train model
        on-error: stop-next
        override:
          inputs: [{name: images}]
      - {name: tune, type: task, task: search}
    edges:
      - [prepare.output.*, train.input.images]
      - [prepare.output.*, tune.input.images]
- pipeline:
    name: lazy
    reuse-executions: true
    nodes: [{name: prepare, type: execution, step: prepare}]
    edges: []
"""


class Here:
    """A working copy whose commit the server knows."""

    def __init__(self, api: ApiServer, vh: Vh) -> None:
        self.api, self.vh = api, vh
        (vh.folder / "valohai.yaml").write_text(YAML)
        for command in (["init", "-qb", "main"], ["add", "."], ["commit", "-qm", "first"]):
            self.git(*command)
        self.sha = self.git("rev-parse", "HEAD")
        api.add_commit(api.demo, self.sha, YAML.encode(), message="first")
        vh("login", "--host", vh.url, "--token", api.token)
        vh("project", "link", "demo", "-y")

    def git(self, *words: str) -> str:
        identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
        done = subprocess.run(
            ["git", *identity, *words], cwd=self.vh.folder, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()


@pytest.fixture
def here(api: ApiServer, tmp_path: Path) -> Iterator[Here]:
    with listening(api.app) as url:
        yield Here(api, Vh(tmp_path, url))


def test_an_execution_of_a_commit_with_every_option(here: Here) -> None:
    environments.change(here.api.db, "gpu-box", {})
    said = here.vh(
        *("exec", "run", "-t", "My title", "--tag", "a", "--tag", "b", "-e", "gpu-box", "-i", "busybox:1"),
        *("-v", "FOO=bar", "--priority=1", "--time-limit", "90m", "--autorestart", "Train model"),
        *(
            "--max-steps=5",
            "--label=b",
            "--layers=5",
            "--verbose=false",
            "--images=https://x/1",
            "--images=https://x/2",
        ),
    )
    assert f"Execution #1 created. See {here.vh.url}/p/demo/executions/1/" in said
    made = executions.get_by_counter(here.api.db, here.api.demo.id, 1)
    assert made.commit_identifier == here.sha
    assert made.parameters == {"max_steps": 5, "label": "b", "layers": [5], "verbose": False}
    assert made.inputs["images"]["urls"] == ["https://x/1", "https://x/2"]
    assert made.environment_variables == {"MODE": "slow", "FOO": "bar"}
    assert (made.title, made.tags, made.environment, made.image) == ("My title", ("a", "b"), "gpu-box", "busybox:1")
    assert (made.priority, made.time_limit_s, made.autorestart) == (1, 5400, True)
    assert (made.origin, made.client) == ("api", "vh")
    assert [one.name for one in made.changed] == [
        *("max_steps", "label", "layers", "verbose", "images", "FOO", "image", "time limit", "environment")
    ]
    rows = [line.split() for line in here.vh("exec", "info", "1").splitlines()]
    assert ["status", str(made.status)] in rows
    assert ["changed", "max_steps", "300", "→", "5,", "label", "a", "→", "b,"] in [row[:9] for row in rows]
    here.vh("exec", "run", "-c", here.sha[:8], "prepare")
    assert executions.get_by_counter(here.api.db, here.api.demo.id, 2).changed == ()


def test_refused_executions_say_what_to_do(here: Here) -> None:
    assert 'parameter "label"' in here.vh("exec", "run", "Train model", "--label=zzz", rc=1)
    assert "max_steps" in here.vh("exec", "run", "Train model", "--max-steps=5000", rc=1)
    said = here.vh("exec", "run", "-e", "gpuu", "prepare", rc=1)
    assert 'there is no environment "gpuu"' in said
    assert "vh environments" in said
    (here.vh.folder / "key.pub").write_text("ssh-ed25519 AAAA")
    assert "remote debugging is not supported" in here.vh(
        "exec", "run", "--debug-port", "6000", "--debug-key-file", "key.pub", "prepare", rc=1
    )
    (here.vh.folder / "valohai.yaml").write_text(YAML.replace("name: max_steps, type", "name: max_stepz, type"))
    assert 'there is no parameter "max_stepz": did you mean "max_steps"?' in here.vh(
        "exec", "run", "Train model", "--max-stepz=5", rc=1
    )
    (here.vh.folder / "valohai.yaml").write_text(YAML.replace("name: prepare,", "name: prepared,"))
    assert 'there is no step "prepared": did you mean "prepare"?' in here.vh("exec", "run", "prepared", rc=1)
    assert executions.search(here.api.db, _all(here))[0] == []


def test_searches_of_all_types(here: Here) -> None:
    said = here.vh("task", "run", "search", "--label=b")
    assert f"Task !1 created. See {here.vh.url}/p/demo/tasks/1/" in said
    here.vh("task", "run", "-t", "Try", "randomly")
    here.vh("task", "run", "aimed")
    grid, drawn, aimed = (tasks.get_by_counter(here.api.db, here.api.demo.id, counter) for counter in (1, 2, 3))
    assert (grid.type, grid.planned, grid.parameters["label"]) == ("grid_search", 9, "b")
    assert (drawn.type, drawn.planned, drawn.title) == ("random_search", 4, "Try")
    assert (aimed.type, aimed.planned, aimed.commit_identifier) == ("bayesian_tpe", 4, here.sha)
    assert [item["counter"] for item in here.vh.json("task", "list")] == [3, 2, 1]


def test_a_pipeline_and_one_that_reuses_its_nodes(here: Here) -> None:
    db, project = here.api.db, here.api.demo.id
    said = here.vh(
        "pipeline", "run", "-t", "Long", "--tag", "x", "--priority=3", "full", "--steps=9", "--train.label=c"
    )
    assert f"Pipeline =1 queued. See {here.vh.url}/p/demo/pipelines/1/" in said
    first = pipelines.get_by_counter(db, project, 1)
    assert (first.title, first.tags, first.priority) == ("Long", ("x",), 3)
    assert [(one.name, one.before, one.after) for one in first.changed] == [("steps", "7", "9")]
    pipeline_service.advance(here.api.context)
    execute(db, "UPDATE execution SET state = 'complete', ended_at = '2026-11-22T23:50:00.000000Z'")
    pipeline_service.advance(here.api.context)
    assert pipelines.list_nodes(db, first.id)[0].state == "complete"
    here.vh("pipeline", "run", "--reuse", "1:prep*", "full")
    nodes = pipelines.list_nodes(db, pipelines.get_by_counter(db, project, 2).id)
    assert [(node.name, str(node.state)) for node in nodes] == [
        ("prepare", "complete"), ("train", "created"), ("tune", "created")
    ]  # fmt: skip
    assert 'parameter "label"' in here.vh("pipeline", "run", "full", "--train.label=zzz", rc=1)


def test_a_pipeline_that_reuses_equal_executions(here: Here) -> None:
    db, project = here.api.db, here.api.demo.id
    here.vh("pipeline", "run", "lazy")
    pipeline_service.advance(here.api.context)
    execute(db, "UPDATE execution SET state = 'complete', ended_at = '2026-11-22T23:50:00.000000Z'")
    pipeline_service.advance(here.api.context)
    here.vh("pipeline", "run", "lazy")
    pipeline_service.advance(here.api.context)
    assert [item["status"] for item in here.vh.json("pipeline", "list")] == ["complete", "complete"]
    assert len(here.vh.json("exec", "list")) == 1
    person = Person(here.api)
    person.log_in()
    first, second = (words(person.get(f"/p/demo/pipelines/{counter}/").text) for counter in (1, 2))
    assert "#1 prepare" in first
    assert "reused" not in first
    assert "#1 prepare, reused" in second
    assert pipelines.get_by_counter(db, project, 2).state == "complete"


def test_without_a_directory_or_a_login(here: Here, tmp_path: Path) -> None:
    """The API-driver mode: everything comes from variables."""
    other = tmp_path / "elsewhere"
    driver = Vh(other, here.vh.url)
    driver.environment |= {
        "VALOHAI_HOST": here.vh.url, "VALOHAI_TOKEN": here.api.token, "VALOHAI_PROJECT": here.api.demo.uuid,
    }  # fmt: skip
    assert "Execution #1 created" in driver("exec", "run", "-c", here.sha, "Train model", "--max-steps=4")
    assert executions.get_by_counter(here.api.db, here.api.demo.id, 1).parameters["max_steps"] == 4


def _all(here: Here) -> object:
    from web.store.selection import Selection

    return Selection(projects=[here.api.demo.id])
