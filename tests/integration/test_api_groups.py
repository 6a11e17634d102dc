"""Tasks and pipelines as clients of the API see them."""

from __future__ import annotations

from typing import Any

import pytest
from api_server import ApiServer, problem

from core.states import State
from web.store import groups, pipelines
from web.store.db import transaction

LIST_READS = {"id", "counter", "status", "title", "url", "urls"}  # what `vh` reads


def moved(api: ApiServer, table: groups.Table, group_id: int, *states: State) -> None:
    current = State.CREATED
    with transaction(api.db):
        for state in states:
            groups.transition(api.db, table, group_id, current, state)
            current = state


def asked_to_stop(api: ApiServer, table: Any, group_id: int) -> None:
    with transaction(api.db):
        assert groups.request_stop(api.db, table, group_id, "admin")


@pytest.fixture(params=["tasks", "pipelines"])
def six(request: pytest.FixtureRequest, api: ApiServer) -> tuple[ApiServer, str]:
    """Six of a noun: complete, started, stopping, error, stopped, created."""
    noun, table = request.param, request.param.removesuffix("s")
    ids = [(api.add_task() if noun == "tasks" else api.add_pipeline(("a", "execution"))).id for _ in range(6)]
    for place, end in ((0, State.COMPLETE), (3, State.ERROR), (4, State.STOPPED)):
        moved(api, table, ids[place], State.STARTED, end)
    for place in (1, 2):
        moved(api, table, ids[place], State.STARTED)
    asked_to_stop(api, table, ids[2])
    return api, noun


def counters(api: ApiServer, noun: str, **query: Any) -> list[int]:
    return [item["counter"] for item in api.json(f"{noun}/", **query)["results"]]


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        (["complete"], [1]),
        (["started"], [2]),
        (["stopping"], [3]),
        (["error"], [4]),
        (["stopped"], [5]),
        (["created"], [6]),
        (["queued"], []),
        (["incomplete"], [2, 3, 6]),
        (["complete", "error"], [1, 4]),
        (["nonsense' OR 1"], []),
    ],
)
def test_they_are_filtered_by_any_of_the_statuses(
    six: tuple[ApiServer, str], statuses: list[str], expected: list[int]
) -> None:
    assert counters(*six, status=statuses, ordering="counter") == expected


def test_they_are_filtered_by_number_creator_and_project_ordered_and_paged(six: tuple[ApiServer, str]) -> None:
    api, noun = six
    assert counters(api, noun, counter=[2, 4, 99], ordering="counter") == [2, 4]
    assert len(counters(api, noun, creator=api.admin.id)) == len(counters(api, noun, creator="<none>")) == 6
    assert counters(api, noun, creator=12345) == []
    assert counters(api, noun, project=api.demo.uuid) == counters(api, noun, ordering="-counter") == [6, 5, 4, 3, 2, 1]
    assert counters(api, noun, project=api.project("other").uuid) == []
    assert counters(api, noun, deleted="True") == []
    page = api.json(f"{noun}/", limit=2, offset=2, ordering="ctime")
    assert ([item["counter"] for item in page["results"]], page["count"]) == ([3, 4], 6)
    assert api.get(f"{noun}/", ordering="title").status_code == 400


def test_they_are_found_by_uuid_number_and_latest(six: tuple[ApiServer, str]) -> None:
    api, noun = six
    (third,) = api.json(f"{noun}/", counter=3)["results"]
    for identifier in (third["id"], "demo:3", f"{api.demo.uuid}:3"):
        found = api.json(f"{noun}/{identifier}/")
        assert found | third == found
    assert api.json(f"{noun}/{api.demo.uuid}:latest/")["counter"] == 6
    for identifier in ("nope", "demo:7", "demo:x", f"{api.project('other').uuid}:latest"):
        answer = api.get(f"{noun}/{identifier}/")
        assert answer.status_code in (400, 404)
        assert problem(answer)


def test_they_have_what_list_and_stop_read_on_the_host_that_was_asked(six: tuple[ApiServer, str]) -> None:
    api, noun = six
    for item in api.json(f"{noun}/")["results"]:
        assert item.keys() >= LIST_READS
        assert item["url"] == f"http://localhost/api/v0/{noun}/{item['id']}/"
        assert item["urls"]["stop"] == f"{item['url']}stop/"
        assert item["urls"]["display"] == f"http://localhost/p/demo/{noun}/{item['counter']}/"
        assert item["title"] == ("lr-search" if noun == "tasks" else "full")


def test_a_list_asks_the_database_as_often_for_many_as_for_few(six: tuple[ApiServer, str]) -> None:
    api, noun = six

    def statements(limit: int) -> int:
        asked: list[str] = []
        connection = api.app.extensions["pushmill"].local.context.db.conn
        connection.set_trace_callback(asked.append)
        assert len(api.json(f"{noun}/", limit=limit)["results"]) == limit
        connection.set_trace_callback(None)
        return len(asked)

    api.json(f"{noun}/")
    assert statements(1) == statements(6)


def test_what_ended_is_stopped_without_an_error(six: tuple[ApiServer, str]) -> None:
    api, noun = six
    for counter in (1, 4, 5):
        answer = api.post(f"{noun}/demo:{counter}/stop/")
        assert (answer.status_code, answer.json) == (200, {"message": "Already complete"})


@pytest.mark.parametrize("path", ["stop/", "stop", "/stop/"])
def test_a_stop_is_asked_for_once_at_either_spelling(six: tuple[ApiServer, str], path: str) -> None:
    api, noun = six
    for _ in range(2):
        answer = api.post(f"{noun}/demo:2/{path}", follow_redirects=True)
        assert (answer.status_code, answer.json) == (200, {"message": "Stopping"})
    assert api.json(f"{noun}/demo:2/")["status"] == "stopping"
    assert api.json(f"{noun}/demo:6/")["status"] == "created"


def test_the_double_slash_of_vh_is_answered_without_a_redirect(api: ApiServer) -> None:
    pipeline = api.add_pipeline()
    moved(api, "pipeline", pipeline.id, State.STARTED, State.COMPLETE)
    answer = api.post(f"pipelines/{pipeline.uuid}//stop/")
    assert (answer.status_code, answer.json) == (200, {"message": "Already complete"})
    assert api.client.post(f"/api/v0/pipelines/{pipeline.uuid}//stop/").status_code == 401


def test_a_task_counts_its_executions_the_newest_of_each_place(api: ApiServer) -> None:
    task = api.add_task()
    for trial in (0, 1, 1):
        api.finished(task_id=task.id, trial=trial)
    api.add_execution(task_id=task.id, trial=2)
    api.add_execution()
    (listed,) = api.json("tasks/")["results"]
    assert listed["n_executions"] == listed["status_summary"]["count"] == 3
    assert {k: v for k, v in listed["status_summary"].items() if v} == {
        "count": 3, "complete_count": 2, "created_count": 1
    }  # fmt: skip
    assert (listed["type"], listed["step"], listed["pipeline"]) == ("grid_search", "Train model", None)


def test_executions_say_which_task_and_pipeline_they_belong_to(api: ApiServer) -> None:
    pipeline = api.add_pipeline(("prepare", "execution"), ("search", "task"), ("later", "execution"))
    prepare, search, _ = pipelines.list_nodes(api.db, pipeline.id)
    api.add_execution(pipeline_node_id=prepare.id)
    newest = api.add_execution(pipeline_node_id=prepare.id)
    task = api.add_task(pipeline_node_id=search.id)
    api.add_execution(pipeline_node_id=search.id, task_id=task.id, trial=0)
    api.add_execution()
    of_task, of_pipeline = {"id": task.uuid, "counter": 1}, {"id": pipeline.uuid, "counter": 1}
    expected = [(None, of_pipeline), (None, of_pipeline), (of_task, of_pipeline), (None, None)]
    listed = api.json("executions/", ordering="counter")["results"]
    assert [(item["task"], item["pipeline"]) for item in listed] == expected
    shown = [api.json(f"executions/demo:{n}/") for n in range(1, 5)]
    assert [(item["task"], item["pipeline"]) for item in shown] == expected
    assert api.json("tasks/demo:1/")["pipeline"] == of_pipeline

    nodes = api.json("pipelines/demo:1/")["nodes"]
    assert [(node["name"], node["type"], node["status"]) for node in nodes] == [
        ("prepare", "execution", "created"), ("search", "task", "created"), ("later", "execution", "created")
    ]  # fmt: skip
    assert [node["id"] for node in nodes] == [node.uuid for node in pipelines.list_nodes(api.db, pipeline.id)]
    assert [node["execution"] for node in nodes] == [{"id": newest.uuid, "counter": 2}, None, None]
    assert [node["task"] for node in nodes] == [None, of_task, None]
