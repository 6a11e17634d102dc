"""A search and a pipeline from a rule to the statuses on the forge, all real, also while processes are killed."""

from __future__ import annotations

import contextlib
import json
import random
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from chaos import CONFIG as CHAOS
from chaos import Killer
from chaos import Site as Besieged
from fake_forge import FakeForge
from fake_forge import running as forge_running
from forge_deliveries import GitHub, Moved, encoded
from instance import FINAL, Checkout, Instance, running, wait_for
from machines import machine

pytestmark = [pytest.mark.docker, pytest.mark.redis]

SERVED = """
[server]
url = "https://pushmill.example.org"
[git]
allow_local = true
[runner]
slots = 2
"""
RULES = """
[[rule]]
name = "search"
steps = []
tasks = ["lr-*"]
[[rule]]
name = "graph"
steps = []
pipelines = ["full"]
parameters = { epochs = 4 }
"""
YAML = """
- step:
    name: prepare
    image: pushmill-quickstart
    command:
      - mkdir -p /valohai/outputs/sets
      - echo one > /valohai/outputs/sets/a.txt
      - echo two > /valohai/outputs/sets/b.txt
- step:
    name: train
    image: pushmill-quickstart
    command: python3 train.py {parameters}
    parameters:
      - {name: rate, type: float, default: 0.5}
      - {name: epochs, type: integer, default: 1}
    inputs:
      - {name: data, optional: true}
- step:
    name: evaluate
    image: pushmill-quickstart
    command:
      - cat /valohai/inputs/model/*
      - "sh -c 'echo score {parameter-value:score}'"
    parameters:
      - {name: score, type: float}
    inputs:
      - name: model
- task:
    name: lr-search
    step: train
    type: grid_search
    parameters:
      - {name: rate, style: multiple, rules: {items: [0.1, 0.3, 0.2]}}
- pipeline:
    name: full
    parameters:
      - {name: epochs, targets: [train.parameters.epochs]}
    nodes:
      - {name: prepare, type: execution, step: prepare}
      - {name: train, type: execution, step: train}
      - {name: evaluate, type: execution, step: evaluate}
    edges:
      - [prepare.output.sets/*, train.input.data]
      - [train.output.model.txt, evaluate.input.model]
      - [train.metadata.score, evaluate.parameter.score]
"""
TRAIN = """
import argparse, json, os, pathlib

parser = argparse.ArgumentParser()
parser.add_argument("--rate", type=float)
parser.add_argument("--epochs", type=int)
given = parser.parse_args()
data = sorted(pathlib.Path("/valohai/inputs/data").glob("*"))
model = " ".join([*(path.name + "=" + path.read_text().strip() for path in data), f"epochs={given.epochs}"])
pathlib.Path("/valohai/outputs/model.txt").write_text(model + "\\n")
known = {name: os.environ[name] for name in ("VH_TASK_ID", "VH_PIPELINE_ID", "VH_PIPELINE_NODE_ID") if name in os.environ}
print("known", *sorted(known))
print(json.dumps({"epoch": given.epochs, "score": given.rate * 2}))
"""
SIEGE_YAML = """
- step:
    name: work
    image: pushmill-quickstart
    command:
      - sleep {parameter-value:seconds}
      - echo did {parameter-value:number} > /valohai/outputs/done-{parameter-value:number}
    parameters:
      - {name: number, type: integer, default: 0}
      - {name: seconds, type: float, default: 1.5}
- step:
    name: gather
    image: pushmill-quickstart
    command: cat /valohai/inputs/done/*
    inputs:
      - name: done
- task:
    name: many
    step: work
    type: grid_search
    maximum-queued-executions: 4
    parameters:
      - {name: number, style: linear, rules: {start: 1, end: 10, step: 1}}
- pipeline:
    name: graph
    nodes:
      - {name: many, type: task, task: many}
      - {name: alone, type: execution, step: work}
      - {name: gather, type: execution, step: gather}
    edges:
      - [many.output.done-*, gather.input.done]
      - [alone.output.done-*, gather.input.done]
"""


class Site:
    def __init__(self, server: Instance, forge: FakeForge, checkout: Checkout, folder: Path) -> None:
        self.server, self.forge, self.checkout, self.path = server, forge, checkout, folder / "model.git"
        subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(self.path)], check=True)
        added = self.server.pushmill("project", "add", "model", "--repo", str(self.path), "--forge", "github", "--json")
        self.server.pushmill("project", "rules", "model", "--set", "-", given=RULES)
        self.sender = GitHub()
        self.sender.secret = json.loads(added)["webhook_secret"]

    def push(self) -> str:
        sha = self.checkout.commit({"valohai.yaml": YAML, "train.py": TRAIN})
        self.checkout.git("push", "-q", str(self.path), "HEAD:refs/heads/main")
        body = encoded(self.sender.push(Moved(ref="refs/heads/main", after=sha)))
        headers = self.sender.headers(body, sha, "push")
        answer = httpx.post(f"{self.server.url}/hooks/model/github", content=body, headers=headers, trust_env=False)
        assert answer.status_code == 202
        wait_for(lambda: self.server.executions("model"))  # the forge's name of the repository came with the push
        self.server.pushmill(
            "project", "set-token", "model", "--api-url", self.forge.api_url, given=f"{self.forge.token}\n"
        )
        return sha


@pytest.fixture
def site(tmp_path: Path, checkout: Checkout) -> Iterator[Site]:
    with running(tmp_path / "data", SERVED) as server, forge_running("github") as forge:
        yield Site(server, forge, checkout, tmp_path)


def test_a_rule_runs_a_task_and_a_pipeline_and_the_forge_shows_each_once(site: Site) -> None:
    sha = site.push()
    wait_for(lambda: site.forge.shown(sha).get("pushmill", ("",))[0] == "success", 120)
    shown = site.forge.shown(sha)
    assert shown.keys() == {"pushmill", "pushmill/task lr-search", "pushmill/pipeline full"}
    assert all(status[0] == "success" for status in shown.values()), shown

    (task,) = site.server.get("/tasks/", project=site.server.project("model")["id"])["results"]
    (pipeline,) = site.server.get("/pipelines/", project=site.server.project("model")["id"])["results"]
    assert (task["status"], pipeline["status"]) == ("complete", "complete")
    made = site.server.executions("model")
    trials = [execution for execution in made if execution["task"]]
    assert [execution["parameters"]["rate"] for execution in trials] == [0.1, 0.3, 0.2]
    assert "known VH_TASK_ID" in site.server.events(trials[0]["id"], "stdout")

    nodes = {execution["step"]: execution for execution in made if execution["pipeline"]}
    assert list(nodes) == ["prepare", "train", "evaluate"]
    assert "known VH_PIPELINE_ID VH_PIPELINE_NODE_ID" in site.server.events(nodes["train"]["id"], "stdout")
    assert nodes["train"]["parameters"] == {"rate": 0.5, "epochs": 4}
    assert site.server.events(nodes["evaluate"]["id"], "stdout") == ["a.txt=one b.txt=two epochs=4", "score 1.0"]


@pytest.fixture
def besieged(tmp_path: Path) -> Iterator[Besieged]:
    with (
        running(tmp_path / "site", CHAOS) as instance,
        machine(instance, tmp_path / "two", "second", slots=2) as second,
    ):
        yield Besieged(instance, second)


@pytest.mark.timeout(300)
def test_a_graph_with_a_search_under_fire_makes_each_execution_once(besieged: Besieged, checkout: Checkout) -> None:
    instance = besieged.instance
    instance.pushmill("project", "add", "siege")
    checkout.commit({"valohai.yaml": SIEGE_YAML})
    killer = Killer(besieged, random.Random())
    killer.start()
    try:
        patiently(lambda: bool(checkout.push(instance.git_url("siege"), "pushmill.pipeline=graph")))
        wait_for(lambda: patiently(lambda: ended(instance)), 240, 0.5)
    finally:
        killer.stop()
    wait_for(lambda: patiently(lambda: bool(instance.executions("siege"))), 60, 0.5)
    assert ended(instance) == ["complete"], story(instance)
    made = patiently(lambda: instance.executions("siege"))
    assert [execution["status"] for execution in made] == ["complete"] * 12, story(instance)
    assert sorted(e["parameters"]["number"] for e in made if e["step"] == "work") == list(range(11))
    (gather,) = [execution for execution in made if execution["step"] == "gather"]
    got = patiently(lambda: instance.events(gather["id"], "stdout"))
    assert sorted(got) == sorted(f"did {number}" for number in range(11))


def ended(instance: Instance) -> list[str]:
    """Return the states of the pipelines, once all are final."""
    found = [item["status"] for item in instance.get("/pipelines/", project=instance.project("siege")["id"])["results"]]
    return found if found and set(found) <= FINAL else []


def patiently(call: Any) -> Any:
    """Return the answer, None while the server does not answer."""
    with contextlib.suppress(httpx.HTTPError, RuntimeError, StopIteration):
        return call()
    return None


def story(instance: Instance) -> str:
    with contextlib.closing(sqlite3.connect(instance.data / "pushmill.db", timeout=10)) as db:
        found = [db.execute(f"SELECT * FROM {table}").fetchall() for table in ("pipeline", "pipeline_node", "task")]
        states = "SELECT counter, step, state, failure_message, task_id, trial, pipeline_node_id FROM execution"
        return "\n".join(map(str, [*(row for table in found for row in table), *db.execute(states).fetchall()]))
