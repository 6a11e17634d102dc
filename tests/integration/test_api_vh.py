"""The real `vh` command line client, unmodified, against the application on loopback."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from api_server import ApiServer, listening
from vh_client import Vh

from core.states import State
from web.store import groups, pipelines
from web.store.db import transaction


@pytest.fixture
def vh(api: ApiServer, tmp_path: Path) -> Iterator[Vh]:
    with listening(api.app) as url:
        yield Vh(tmp_path, url)


@pytest.fixture
def linked(api: ApiServer, vh: Vh) -> Vh:
    vh("login", "--host", vh.url, "--token", api.token)
    vh("project", "link", "demo", "-y")
    return vh


def test_login_by_token_and_by_password_and_not_by_a_wrong_one(api: ApiServer, vh: Vh) -> None:
    assert "admin" in vh("login", "--host", vh.url, "--token", api.token)
    vh("logout", "-y")
    assert "admin" in vh("login", "--host", vh.url, "-u", "admin", "-p", api.token)
    vh("logout", "-y")
    assert "Unable to log in" in vh("login", "--host", vh.url, "-u", "admin", "-p", "wrong", rc=1)
    assert "Invalid token" in vh("login", "--host", vh.url, "--token", "wrong", rc=1)


def test_a_directory_is_linked_and_the_project_looked_at(api: ApiServer, linked: Vh) -> None:
    api.started()
    assert "demo" in linked("project", "list")
    status = linked("project", "status")
    assert "demo" in status
    assert "Train model" in status
    (commit,) = linked.json("project", "commits")
    assert (commit["identifier"], commit["commit_time"]) == (api.commit.identifier, "2026-11-22T23:39:48Z")
    linked("project", "fetch")
    assert "demo" in linked("project", "open")
    assert linked.json("environments")[0]["slug"] == "default"


def test_executions_are_listed_shown_and_summarized(api: ApiServer, linked: Vh) -> None:
    execution, attempt = api.started()
    api.log(execution, b'{"loss": 0.25}\n', 0)
    api.call(f"executions/{execution}/final", {"attempt": attempt, "state": "complete"})
    api.add_execution()
    assert [item["counter"] for item in linked.json("exec", "list")] == [2, 1]
    assert [item["counter"] for item in linked.json("exec", "list", "--status", "complete", "-o")] == [1]
    info = linked("exec", "info", "1")
    assert all(text in info for text in ("Train model", "complete", "https://example.org/a.png", "steps", "300"))
    assert linked.json("exec", "info", "latest")["status"] == "created"
    assert "does not exist" in linked("exec", "info", "9", rc=1)
    assert "0.25" in linked("exec", "summarize", "1")
    assert f"{linked.url}/p/demo/executions/1/" in linked("exec", "open", "1")


def test_logs_come_with_all_streams_and_all_lines(api: ApiServer, linked: Vh) -> None:
    execution, attempt = api.started()
    api.log(execution, b"".join(b"line %d\n" % i for i in range(2100)), 0)
    api.log(execution, b"oops\n", 0, stream="stderr")
    api.call(f"executions/{execution}/final", {"attempt": attempt, "state": "complete"})
    tail = linked("exec", "logs", "1")
    assert "There are 2103 events, but only the last 2000 are shown" in tail
    everything = linked("exec", "logs", "1", "--all")
    assert everything.count("line ") == 2100
    assert all(text in everything for text in ("Execution created", "Started on runner one", "oops"))


def test_following_a_log_ends_when_the_execution_does(api: ApiServer, linked: Vh) -> None:
    execution, attempt = api.started()
    api.log(execution, b"first\n", 0)

    def end() -> None:
        client = api.app.test_client()
        headers = {"Authorization": "Token pm_runner_one"}
        path = f"/api/runner/executions/{execution}"
        batch = {"attempt": attempt, "stream": "stdout", "start": 6, "end": 11, "first_us": 0, "last_us": 0}
        client.post(f"{path}/log", query_string=batch, data=b"last\n", headers=headers)
        client.post(f"{path}/final", json={"attempt": attempt, "state": "complete"}, headers=headers)

    timer = threading.Timer(1.0, end)
    timer.start()
    said = linked("exec", "logs", "1", "--stream")
    timer.join()
    assert "first" in said
    assert "last" in said


def test_outputs_are_listed_and_downloaded_with_their_directories(api: ApiServer, linked: Vh) -> None:
    execution, _ = api.started()
    contents = {"model.bin": bytes(range(256)) * 4000, "sub/dir/report.csv": b"a,b\n", "empty": b""}
    for name, content in contents.items():
        assert api.upload(execution, name, content).status_code == 200
    assert {item["name"] for item in linked.json("data", "list")} == set(contents)
    linked("exec", "outputs", "1", "-d", "out-{counter}")
    for name, content in contents.items():
        assert (linked.folder / "out-1" / name).read_bytes() == content


def test_executions_are_stopped_by_number_latest_and_all(api: ApiServer, linked: Vh) -> None:
    first, attempt = api.started()
    others = [api.add_execution().uuid for _ in range(3)]
    assert "Stopping" in linked("exec", "stop", "1")
    linked("exec", "stop", "latest")
    assert api.execution(others[-1]).status == "stopped"
    linked("exec", "stop", "1-3")
    assert [api.execution(uuid).status for uuid in [first, *others]] == ["stopping", "stopped", "stopped", "stopped"]
    linked("exec", "stop", "--all")
    assert api.execution(first).stop_count == 3
    api.call(f"executions/{first}/final", {"attempt": attempt, "state": "stopped"})
    assert "Already complete" in linked("exec", "stop", "1")


def test_tasks_and_pipelines_are_listed_and_what_is_not_there_is_named(api: ApiServer, linked: Vh) -> None:
    first = api.add_task("lr-search")
    api.add_task("batch")
    api.add_pipeline(("a", "execution"), name="full")
    with transaction(api.db):
        groups.transition(api.db, "task", first.id, State.CREATED, State.STARTED)
    tasks, pipelines = linked.json("task", "list"), linked.json("pipeline", "list", "-o")
    assert [(item["counter"], item["title"], item["status"]) for item in tasks] == [
        (2, "batch", "created"), (1, "lr-search", "started")
    ]  # fmt: skip
    assert [(item["counter"], item["title"], item["status"]) for item in pipelines] == [(1, "full", "created")]
    assert f"{linked.url}/p/demo/tasks/1/" in linked("task", "list")
    assert f"{linked.url}/p/demo/pipelines/1/" in linked("pipeline", "list")
    assert "No tasks" in linked("task", "list", "-d")
    assert "Nothing to stop" in linked("task", "stop", "9")
    assert "Nothing to stop" in linked("pipeline", "stop", "9")


def test_what_has_ended_is_stopped_by_number_latest_and_all_without_an_error(api: ApiServer, linked: Vh) -> None:
    task, pipeline = api.add_task(), api.add_pipeline(("a", "execution"))
    with transaction(api.db):
        for table, group in (("task", task), ("pipeline", pipeline)):
            groups.transition(api.db, table, group.id, State.CREATED, State.STARTED)
            groups.transition(api.db, table, group.id, State.STARTED, State.COMPLETE)
    for noun in ("task", "pipeline"):
        for which in ("1", "latest"):
            assert "Already complete" in linked(noun, "stop", which)
        linked(noun, "stop", "--all")


def test_tasks_and_pipelines_are_stopped_by_number_latest_and_all(api: ApiServer, linked: Vh) -> None:
    for _ in range(4):
        api.add_task()
        api.add_pipeline(("a", "execution"))
    for noun in ("task", "pipeline"):
        assert "Stopping" in linked(noun, "stop", "1")
        linked(noun, "stop", "latest")
        assert [item["counter"] for item in api.json(f"{noun}s/", status="stopping")["results"]] == [4, 1]
        linked(noun, "stop", "--all")
        assert len(api.json(f"{noun}s/", status="stopping")["results"]) == 4


def test_executions_of_a_task_and_a_pipeline_are_shown(api: ApiServer, linked: Vh) -> None:
    pipeline = api.add_pipeline(("a", "task"))
    (node,) = pipelines.list_nodes(api.db, pipeline.id)
    task = api.add_task(pipeline_node_id=node.id)
    api.add_execution(task_id=task.id, trial=0, pipeline_node_id=node.id)
    assert task.uuid in linked("exec", "info", "1")
    assert linked.json("exec", "list")[0]["pipeline"] == {"id": pipeline.uuid, "counter": 1}


def test_variables_are_created_listed_replaced_and_deleted(api: ApiServer, linked: Vh) -> None:
    variables = ("project", "environment-variables")
    assert "No environment variables" in linked(*variables, "list")
    linked(*variables, "create", "MODE=fast", "with-dash=1")
    linked(*variables, "create", "--secret", "TOKEN=correct-horse")
    assert linked.json(*variables, "list") == {
        "MODE": {"value": "fast", "secret": False},
        "TOKEN": {"value": None, "secret": True},
        "with-dash": {"value": "1", "secret": False},
    }
    shown = linked(*variables, "list")
    assert "****" in shown
    assert "correct-horse" not in shown
    linked(*variables, "create", "MODE=slow")
    linked(*variables, "delete", "TOKEN", "with-dash")
    assert linked.json(*variables, "list") == {"MODE": {"value": "slow", "secret": False}}
    assert "not found in demo" in linked(*variables, "delete", "TOKEN", rc=1)
    assert "cannot be set" in linked(*variables, "create", "VH_JOB_ID=x", rc=1)


def test_what_is_not_here_is_said_without_a_stack_trace(api: ApiServer, linked: Vh) -> None:
    for command in (["alias", "list"], ["model", "list"]):
        linked(*command)


def test_a_project_without_commits_says_so(api: ApiServer, vh: Vh) -> None:
    vh("login", "--host", vh.url, "--token", api.token)
    vh("project", "create", "-n", "empty", "-y")
    assert "no commits yet" in vh("project", "commits")
