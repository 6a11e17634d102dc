"""Common commands of the real `vh`, against a whole server with Docker."""

from __future__ import annotations

import sqlite3
import subprocess
from pathlib import Path

import pytest
from instance import Checkout, Instance, wait_for
from vh_client import Vh

pytestmark = [
    pytest.mark.docker,
    pytest.mark.redis,
]

YAML = """
- step:
    name: train
    image: pushmill-quickstart
    command:
      - python3 train.py {parameters}
    parameters:
      - {name: epochs, type: integer, default: 3}
    inputs:
      - {name: weights, optional: true}
- step:
    name: wait
    image: pushmill-quickstart
    command: echo waiting && sleep {parameter-value:seconds}
    parameters:
      - {name: seconds, type: integer, default: 600}
- task:
    step: wait
    name: search
    type: grid_search
    parameters:
      - {name: seconds, style: multiple, rules: {items: [600, 601]}}
- pipeline:
    name: full
    nodes:
      - {name: first, type: execution, step: wait}
      - {name: second, type: execution, step: train}
    edges:
      - [first.output.*, second.input.weights]
"""
TRAIN = """
import json, os, sys
for epoch in range(1, 4):
    print(json.dumps({"epoch": epoch, "loss": 1 / epoch}), flush=True)
for line in range(300):
    print("line", line)
os.makedirs("/valohai/outputs/sub", exist_ok=True)
open("/valohai/outputs/model.bin", "wb").write(bytes(range(256)) * 4000)
open("/valohai/outputs/sub/report.csv", "w").write("a,b\\n")
print("the very last line")
"""


@pytest.fixture
def vh(server: Instance, tmp_path: Path, checkout: Checkout) -> Vh:
    """Logged in, in the working copy."""
    shell = Vh(tmp_path, server.url, checkout.folder)
    shell("login", "--host", server.url, "--token", server.token)
    return shell


def created(vh: Vh, server: Instance, name: str) -> str:
    """Create and link a project; the address to push to, by its UUID."""
    said = vh("project", "create", "-n", name, "-d", "digits", "-y")
    assert f"admin/{name} created" in said
    return server.git_url(server.project(name)["id"])


def pushed(vh: Vh, server: Instance, checkout: Checkout, name: str, *options: str) -> str:
    """Push a commit with the example to a new project; its SHA."""
    address = created(vh, server, name)
    sha = checkout.commit({"valohai.yaml": YAML, "train.py": TRAIN})
    checkout.push(address, *options)
    return sha


def counters(vh: Vh, *filters: str) -> list[int]:
    return [item["counter"] for item in vh.json("exec", "list", *filters)]


def test_logging_in_and_out(server: Instance, tmp_path: Path) -> None:
    vh = Vh(tmp_path, server.url)
    assert "Unable to log in" in vh("login", "--host", server.url, "-u", "admin", "-p", "wrong", rc=1)
    assert "admin" in vh("login", "--host", server.url, "-u", "admin", "-p", server.token)
    vh("logout", "-y")
    assert "Invalid token" in vh("login", "--host", server.url, "--token", "wrong", rc=1)
    assert "admin" in vh("login", "--host", server.url, "--token", server.token)


def test_a_project_is_created_linked_and_looked_at(vh: Vh, server: Instance, checkout: Checkout) -> None:
    address = created(vh, server, "projects")
    assert "projects" in vh("project", "list")
    assert "already exists" in vh("project", "create", "-n", "projects", "-y", rc=1)
    assert "no commits yet" in vh("project", "commits")
    vh("project", "unlink", "-y")
    vh("project", "link", "projects", "-y")
    assert f"{server.url}/p/projects/" in vh("project", "open")
    sha = checkout.commit({"valohai.yaml": YAML, "train.py": TRAIN})
    said = checkout.push(address, "pushmill.step=train")
    assert f"/p/projects/commits/{sha}/" in said
    vh("project", "fetch")
    assert f"{sha} (current)" in vh("project", "commits")
    assert "projects" in vh("project", "status")
    assert [item["slug"] for item in vh.json("environments")] == ["default"]
    variables = ("project", "environment-variables")
    vh(*variables, "create", "MODE=fast")
    vh(*variables, "create", "--secret", "KEY=correct-horse")
    assert vh.json(*variables, "list")["KEY"] == {"value": None, "secret": True}
    vh(*variables, "delete", "MODE", "KEY")
    assert "No environment variables" in vh(*variables, "list")


def test_an_execution_is_followed_summarized_and_its_outputs_fetched(
    vh: Vh, server: Instance, checkout: Checkout
) -> None:
    sha = pushed(vh, server, checkout, "followed", "pushmill.step=train")
    wait_for(lambda: counters(vh) == [1])
    said = vh("exec", "logs", "1", "--stream")
    assert "line 0" in said
    assert "the very last line" in said
    assert vh("exec", "logs", "1", "--all").count("line ") == 300
    watched = vh.until("the very last line", "exec", "watch", "1")
    assert "complete" in watched
    info = vh.json("exec", "info", "latest")
    assert (info["status"], info["commit"]["identifier"]) == ("complete", sha)
    assert "epochs" in vh("exec", "info", "1")
    (listed,) = vh.json("exec", "list", "--status", "complete", "-o", "-n", "5")
    assert (listed["counter"], listed["step"]) == (1, "train")
    assert "No executions" in vh("exec", "list", "--status", "incomplete")
    summary = vh("exec", "summarize", "1")
    assert "0.333" in summary
    assert f"{server.url}/p/followed/executions/1/" in vh("exec", "open", "1")
    vh("exec", "outputs", "1", "-d", "out-{counter}")
    assert (vh.folder / "out-1" / "model.bin").read_bytes() == bytes(range(256)) * 4000
    assert (vh.folder / "out-1" / "sub" / "report.csv").read_text() == "a,b\n"
    vh("exec", "outputs", "1", "-d", "csv", "-f", "*.csv")
    assert [path.name for path in (vh.folder / "csv").rglob("*") if path.is_file()] == ["report.csv"]
    assert {item["name"] for item in vh.json("data", "list")} == {"model.bin", "sub/report.csv"}
    named(server, vh)


def named(server: Instance, vh: Vh) -> None:
    """An alias made by the API is listed, and goes when its output is purged with the execution."""
    datum = server.get("/data/", project="followed")["results"][0]
    answer = server.client.post("/datum-aliases/", json={"project": "followed", "name": "best", "datum": datum["id"]})
    assert answer.status_code == 201
    assert "datum://best" in vh("alias", "list")
    assert "Deleted 1 executions" in vh("exec", "delete", "1", "7", "--purge-outputs")
    assert "does not exist" in vh("exec", "info", "1", rc=1)
    assert "Nothing was deleted" in vh("exec", "delete", "1", rc=1)
    assert counters(vh) == []
    assert counters(vh, "-d") == [1]
    assert "model.bin" not in vh("data", "list")
    assert server.get("/data/", project="followed", deleted="true")["count"] == 2


def test_executions_tasks_and_pipelines_are_listed_and_stopped(vh: Vh, server: Instance, checkout: Checkout) -> None:
    pushed(vh, server, checkout, "stopped", "pushmill.step=wait", "pushmill.task=search", "pushmill.pipeline=full")
    wait_for(lambda: len(counters(vh, "--status", "started")) >= 1)
    (task,) = vh.json("task", "list")
    (pipeline,) = vh.json("pipeline", "list")
    assert (task["counter"], task["title"], pipeline["counter"], pipeline["title"]) == (1, "search", 1, "full")
    assert "Error deleting execution" in vh("exec", "delete", str(counters(vh, "--status", "started")[0]), rc=1)
    assert "Stopping" in vh("task", "stop", "1")
    assert "Stopping" in vh("pipeline", "stop", "latest")
    vh("exec", "stop", "--all")
    ended = wait_for(lambda: not counters(vh, "--status", "incomplete"))
    assert ended
    assert {item["status"] for item in vh.json("exec", "list")} == {"stopped"}
    wait_for(lambda: {item["status"] for item in vh.json("pipeline", "list")} == {"stopped"})
    assert "Already complete" in vh("exec", "stop", "latest")
    assert "Already complete" in vh("pipeline", "stop", "1")


def test_steps_tasks_and_pipelines_are_run_from_a_commit(vh: Vh, server: Instance, checkout: Checkout) -> None:
    sha = pushed(vh, server, checkout, "launched", "ci.skip")
    said = vh("exec", "run", "train", "--epochs=5", "-t", "five", "--tag", "long", "-v", "MODE=slow")
    assert f"Execution #1 created. See {server.url}/p/launched/executions/1/" in said
    assert "the very last line" in vh("exec", "logs", "1", "--stream")
    made = server.get("/executions/launched:1/")
    assert (made["status"], made["commit"]["identifier"], made["title"]) == ("complete", sha, "five")
    assert (made["parameters"], made["tags"]) == ({"epochs": 5}, ["long"])
    assert made["environment_variables"]["MODE"] == "slow"
    assert "Pipeline =1 " in vh("pipeline", "run", "full")
    assert "!1 " in vh("task", "run", "search")
    for noun, number in (("pipeline", "1"), ("task", "1")):
        assert "Stopping" in vh(noun, "stop", number)
    wait_for(lambda: not counters(vh, "--status", "incomplete"))


def test_the_files_as_they_are_run_and_are_watched(vh: Vh, server: Instance, checkout: Checkout) -> None:
    created(vh, server, "adhoc")
    (checkout.folder / "valohai.yaml").write_text(YAML)
    (checkout.folder / "train.py").write_text(TRAIN)
    said = vh.until("the very last line", "exec", "run", "--adhoc", "--watch", "train")
    assert "Execution #1 created" in said
    again = vh("exec", "run", "--adhoc", "train")
    assert "already uploaded" in again.lower()
    assert "the very last line" in vh("exec", "logs", "2", "--stream")
    commits = {item["commit"]["identifier"] for item in server.executions("adhoc")}
    assert len(commits) == 1
    assert commits.pop().startswith("~")


def test_a_program_runs_a_commit_without_a_login_or_a_working_copy(
    vh: Vh, server: Instance, checkout: Checkout, tmp_path: Path
) -> None:
    sha = pushed(vh, server, checkout, "driven", "ci.skip")
    driver = Vh(tmp_path / "driver", server.url)
    driver.environment |= {
        "VALOHAI_HOST": server.url, "VALOHAI_TOKEN": server.token, "VALOHAI_PROJECT": server.project("driven")["id"],
    }  # fmt: skip
    assert "Execution #1 created" in driver("exec", "run", "-c", sha, "train")
    assert "the very last line" in driver("exec", "logs", "1", "--stream")
    assert [item["counter"] for item in driver.json("exec", "list", "-o")] == [1]


def test_commands_that_ask_no_server_work_in_the_working_copy(vh: Vh, server: Instance, checkout: Checkout) -> None:
    created(vh, server, "offline")
    checkout.commit({"valohai.yaml": YAML, "train.py": TRAIN})
    assert "No errors" in vh("lint")
    (checkout.folder / "bad.yaml").write_text("- step:\n    name: x\n")
    assert "error" in vh("lint", "bad.yaml", rc=2)
    vh("parcel", "-d", "parcel", "--code", "archive", "--no-docker-images", "--no-valohai-local-run")
    assert any((checkout.folder / "parcel").iterdir())
    (checkout.folder / "tune.py").write_text(
        "import valohai\nvalohai.prepare(step='tune', image='python:3.12', default_parameters={'rate': 0.5})\n"
    )
    vh("yaml", "step", "tune.py")
    assert "name: tune" in (checkout.folder / "valohai.yaml").read_text()


def test_pushes_that_nobody_reported_are_fetched(vh: Vh, server: Instance, tmp_path: Path) -> None:
    remote = tmp_path / "remote.git"
    subprocess.run(["git", "init", "-q", "--bare", str(remote)], check=True)
    elsewhere = Checkout(tmp_path / "elsewhere")
    elsewhere.commit({"valohai.yaml": YAML, "train.py": TRAIN})
    elsewhere.push(f"file://{remote}")
    added(server, "remote", f"file://{remote}")
    sha = elsewhere.commit({"more": "x"})
    elsewhere.push(f"file://{remote}")
    vh("project", "link", "remote", "-y")
    said = vh("project", "fetch")
    assert f"Fetched: main ({sha})" in said
    assert sha in vh("project", "commits")


def added(server: Instance, name: str, url: str) -> None:
    """Add a project that is fetched from elsewhere, and wait for its first poll."""
    server.pushmill("project", "add", name, "--repo", url)
    wait_for(lambda: polled(server, name))


def polled(server: Instance, name: str) -> bool:
    with sqlite3.connect(f"file:{server.data / 'pushmill.db'}?mode=ro", uri=True) as db:
        sql = "SELECT polled_at FROM repository JOIN project ON project.id = project_id WHERE project.name = ?"
        return bool(db.execute(sql, (name,)).fetchone()[0])


def test_a_commit_is_run_with_other_values_and_a_pipeline_reuses_a_node(
    vh: Vh, server: Instance, checkout: Checkout
) -> None:
    pushed(vh, server, checkout, "reused", "ci.skip")
    vh("exec", "run", "-t", "Short", "--tag", "demo", "wait", "--seconds=0")
    assert "waiting" in vh("exec", "logs", "1", "--stream")
    info = vh.json("exec", "info", "1")
    assert (info["status"], info["title"], info["client"]) == ("complete", "Short", "vh")
    assert info["changed"] == "seconds 600 → 0"
    assert server.get("/executions/reused:1/")["changed"] == [{"name": "seconds", "before": "600", "after": "0"}]
    vh("pipeline", "run", "full", "--first.seconds=0")
    wait_for(lambda: vh.json("pipeline", "list")[0]["status"] == "complete", timeout=120)
    vh("pipeline", "run", "--reuse", "1:first", "full")
    wait_for(lambda: vh.json("pipeline", "list")[0]["status"] == "complete", timeout=120)
    assert [item["step"] for item in vh.json("exec", "list")] == ["train", "train", "wait", "wait"]
    vh("task", "run", "search")
    vh("task", "stop", "latest")
    wait_for(lambda: vh.json("task", "list")[0]["status"] == "stopped", timeout=120)


def test_tables_have_other_forms_and_what_is_not_here_is_said(vh: Vh, server: Instance, checkout: Checkout) -> None:
    sha = pushed(vh, server, checkout, "tables", "ci.skip")
    (vh.folder / "values.json").write_text('{"epochs": 4}')
    vh("exec", "run", "-c", sha[:10], "--priority=2", "train", "--parameter-file", "values.json")
    vh("exec", "logs", "latest", "--stream")
    assert vh.json("exec", "info", "1")["parameters"] == {"epochs": 4}
    url = f"{server.url}/p/tables/executions/1/"
    for form, mark in (("csv", ","), ("tsv", "\t"), ("scsv", ";"), ("psv", "|")):
        head, line = vh("--output-format", form, "exec", "list").splitlines()
        assert head.split(mark) == ["#", "Status", "Step", "Duration", "URL"]
        assert (line.split(mark)[:3], line.split(mark)[-1]) == (["1", "complete", "train"], url)
    assert '"loss": 0.333' in vh("--output-format", "json", "exec", "summarize", "1")
    assert [item["commit_time"][-1] for item in vh.json("project", "commits")] == ["Z"]
    assert {item["datum_url"].partition(":")[0] for item in vh.json("exec", "outputs", "1")} == {"datum"}
    assert "unlimited" in vh("environments", "-g", "-p", "-q")
    assert (vh.json("pipeline", "list"), vh.json("task", "list"), vh.json("alias", "list")) == ([], [], [])
    assert "Nothing to stop" in vh("exec", "stop", "1-2", "!1")
    assert "There is no /api/v0/notebook-executions/ here" in vh("notebook", "run", "-e", "default", "-i", "x", rc=1)
    assert "No models found" in vh("model", "list")
    assert "#99 does not exist" in vh("exec", "outputs", "99", rc=1)
    assert "=9 does not exist" in vh("pipeline", "run", "--reuse", "9:first", "full", rc=1)
