"""Lists of the API: their items, their order, and that no page is cut silently."""

from __future__ import annotations

from typing import Any

import pytest
from api_server import ApiServer, problem

from web.store import users
from web.store.db import transaction


def counters(api: ApiServer, **query: Any) -> list[int]:
    return [item["counter"] for item in api.json("executions/", **query)["results"]]


@pytest.fixture
def six(api: ApiServer) -> ApiServer:
    """Executions 1 to 6: complete, started, stopping, error, stopped, created."""
    api.finished()
    api.started()
    stopping, _ = api.started()
    api.post(f"executions/{stopping}/stop/")
    failed, attempt = api.started()
    report = {"attempt": attempt, "state": "error", "failure_reason": "command_failed", "exit_code": 1}
    assert api.call(f"executions/{failed}/final", report).status_code == 200
    stopped = api.add_execution()
    api.post(f"executions/{stopped.uuid}/stop/")
    api.add_execution()
    return api


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        (["complete"], [1]),
        (["started"], [2]),
        (["stopping"], [3]),
        (["error"], [4]),
        (["stopped"], [5]),
        (["created"], [6]),
        (["incomplete"], [2, 3, 6]),
        (["complete", "error"], [1, 4]),
        (["crashed"], []),
        (["nonsense' OR 1"], []),
    ],
)
def test_executions_are_filtered_by_any_of_the_statuses(
    six: ApiServer, statuses: list[str], expected: list[int]
) -> None:
    assert counters(six, status=statuses, ordering="counter") == expected


def test_executions_are_ordered_as_asked(six: ApiServer) -> None:
    upwards = [1, 2, 3, 4, 5, 6]
    assert counters(six, ordering="counter") == counters(six, ordering="ctime") == upwards
    assert counters(six, ordering="-counter") == counters(six, ordering="-ctime") == counters(six) == upwards[::-1]
    assert six.get("executions/", ordering="title").status_code == 400


def test_executions_are_filtered_by_number_creator_and_project(six: ApiServer) -> None:
    assert counters(six, counter=[2, 4, 99], ordering="counter") == [2, 4]
    assert len(counters(six, creator=six.admin.id)) == len(counters(six, creator="<none>")) == 6
    assert counters(six, creator=12345) == []
    other = six.project("other")
    six.add_execution(six.add_commit(other))
    assert counters(six, project=other.uuid) == counters(six, project="other") == [1]
    assert six.get("executions/", project="nope").status_code == 404


def test_an_unknown_creator_is_who_asks_and_not_everybody(six: ApiServer) -> None:
    with transaction(six.db):
        eve = users.add(six.db, "eve", is_admin=False)
        users.add_token(six.db, eve.id, "pm_eve", "test")
    answer = six.client.get("/api/v0/executions/?creator=%3Cnone%3E", headers={"Authorization": "Token pm_eve"})
    assert answer.json is not None
    assert answer.json["results"] == []


@pytest.mark.parametrize("spelling", ["true", "True", "1"])
def test_deleted_executions_and_data_are_none(six: ApiServer, spelling: str) -> None:
    assert counters(six, deleted=spelling) == []
    assert six.json("data/", deleted=spelling)["results"] == []
    assert len(counters(six, deleted="False")) == 6
    assert six.get("executions/", deleted="maybe").status_code == 400


def test_pages_follow_each_other_and_count_everything(six: ApiServer) -> None:
    first = six.json("executions/", ordering="counter", limit=4)
    assert (first["count"], first["previous"]) == (6, None)
    second = six.json(first["next"].removeprefix("http://localhost/api/v0/"))
    assert [item["counter"] for item in first["results"] + second["results"]] == [1, 2, 3, 4, 5, 6]
    assert second["next"] is None
    back = six.json(second["previous"].removeprefix("http://localhost/api/v0/"))
    assert [item["id"] for item in back["results"]] == [item["id"] for item in first["results"]]


def test_a_page_is_a_hundred_but_who_asks_for_more_gets_it(api: ApiServer) -> None:
    for _ in range(103):
        api.add_execution()
    assert len(counters(api)) == 100
    assert len(counters(api, limit=9001)) == 103
    assert len(counters(api, status="incomplete")) == len(counters(api, counter=list(range(1, 104)))) == 103


@pytest.mark.parametrize("query", [{"limit": "x"}, {"limit": 0}, {"limit": -1}, {"offset": "1e3"}, {"limit": "9" * 30}])
def test_a_page_that_cannot_be_is_refused(api: ApiServer, query: dict[str, Any]) -> None:
    answer = api.get("executions/", **query)
    assert answer.status_code == 400
    assert next(iter(query)) in problem(answer)


def test_adhoc_commits_are_told_apart(api: ApiServer) -> None:
    api.add_commit(api.demo, "~" + "a" * 64)
    adhoc = [commit["identifier"] for commit in api.json("commits/", adhoc="true")["results"]]
    pushed = [commit["identifier"] for commit in api.json("commits/", adhoc="false")["results"]]
    assert (adhoc, pushed) == (["~" + "a" * 64], [api.commit.identifier])
    assert api.json(f"commits/~{'a' * 64}/", project=api.demo.uuid)["adhoc"] is True


def test_data_are_filtered_by_project_and_execution_and_sorted_by_name_within_one(api: ApiServer) -> None:
    execution, _ = api.started()
    for name in ("b", "a", "sub/c"):
        assert api.upload(execution, name, name.encode()).status_code == 200
    names = [item["name"] for item in api.json("data/", output_execution=execution, no_count="true")["results"]]
    assert names == ["a", "b", "sub/c"]
    page = api.json("data/", output_execution="demo:1", limit=2, offset=1)
    assert ([item["name"] for item in page["results"]], page["count"]) == (["b", "sub/c"], 3)
    assert api.json("data/", project=api.project("other").uuid)["results"] == []
    assert len(api.json("data/", project=api.demo.uuid, ordering="-ctime", deleted="false")["results"]) == 3
