"""The objects of the API have the fields that the client `vh` reads."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from api_server import ApiServer, problem

# what some command of vh 0.37 reads
READ_BY_VH: dict[str, set[str]] = {
    "user": {"id", "username"},
    "project": {"id", "name", "description", "owner", "urls", "yaml_path"},
    "project detail": {"environment_variables", "execution_summary"},
    "commit": {"identifier", "ref", "commit_time", "adhoc", "url"},
    "environment": {"name", "slug", "description", "gpu_spec", "per_hour_price_usd", "per_user_queue_quota"},
    "execution": {"id", "counter", "status", "step", "duration", "url", "urls", "project", "environment", "commit"},
    "execution detail": {"parameters", "inputs", "outputs", "cumulative_metadata"},
    "datum": {"id", "name", "size", "ctime", "uri", "purged", "output_execution"},
}


def urls_of(value: Any) -> Iterator[str]:
    """Every `url` in a JSON value, however deep."""
    if isinstance(value, list):
        for item in value:
            yield from urls_of(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            if key == "url" and isinstance(item, str):
                yield item
            yield from urls_of(item)


@pytest.fixture
def execution(api: ApiServer) -> str:
    found, attempt = api.started()
    api.log(found, b'{"loss": 0.5}\n{"loss": 0.25, "note": "x"}\n', 0, attempt)
    api.upload(found, "sub/model.txt", b"model\n")
    return found


def test_the_user_says_who_asks(api: ApiServer) -> None:
    user = api.json("users/me/")
    assert READ_BY_VH["user"] <= user.keys()
    assert (type(user["id"]), user["username"]) == (int, "admin")


def test_a_project_has_what_link_and_status_read(api: ApiServer) -> None:
    api.add_execution()
    (listed,) = api.json("projects/", limit=9000)["results"]
    detail = api.json(f"projects/{listed['id']}/")
    assert READ_BY_VH["project"] <= listed.keys()
    assert READ_BY_VH["project"] | READ_BY_VH["project detail"] <= detail.keys()
    assert str(uuid.UUID(detail["id"])) == detail["id"]
    assert detail["owner"] == {"id": api.admin.id, "username": "admin"}
    assert detail["urls"]["display"] == "http://localhost/p/demo/"
    assert (detail["execution_summary"]["count"], detail["execution_summary"]["created_count"]) == (1, 1)
    assert detail["repository"] == {"url": "http://localhost/git/demo.git", "ref": "main"}
    assert api.json("projects/demo/")["id"] == detail["id"]


def test_the_summary_of_a_project_tells_stopping_from_started(api: ApiServer) -> None:
    api.started()
    stopping, _ = api.started()
    api.post(f"executions/{stopping}/stop/")
    summary = api.json("projects/demo/")["execution_summary"]
    assert (summary["count"], summary["started_count"], summary["stopping_count"]) == (2, 1, 1)


def test_commits_of_a_project_are_a_bare_list_of_flat_objects(api: ApiServer) -> None:
    (commit,) = api.json(f"projects/{api.demo.uuid}/commits/")
    assert commit == {
        "identifier": api.commit.identifier,
        "ref": "main",
        "commit_time": "2026-11-22T23:39:48Z",
        "description": "first line",
        "adhoc": False,
    }


def test_a_commit_carries_its_configuration_only_when_asked(api: ApiServer) -> None:
    (listed,) = api.json("commits/", project=api.demo.uuid, adhoc="false", limit=9000)["results"]
    assert READ_BY_VH["commit"] <= listed.keys()
    plain = api.json(f"commits/{listed['identifier']}/", project=api.demo.uuid)
    full = api.json(f"commits/{listed['identifier']}/", project=api.demo.uuid, include="config")
    assert "config" not in plain
    assert full["config"][0]["step"]["name"] == "Train model"
    assert api.json(listed["url"].removeprefix("http://localhost/api/v0/"), include="config") == full
    assert api.json(f"commits/{listed['identifier']}/", include="config") == full


def test_the_same_commit_in_two_projects_has_an_address_in_each(api: ApiServer) -> None:
    other = api.project("other")
    api.add_commit(other, api.commit.identifier)
    urls = {item["url"]: item["project_id"] for item in api.json("commits/")["results"]}
    assert len(urls) == 2
    for url, project in urls.items():
        assert api.json(url.removeprefix("http://localhost/api/v0/"))["project_id"] == project


def test_commit_times_sort_as_text_whatever_zone_they_were_made_in(api: ApiServer) -> None:
    api.add_commit(api.demo, "b" * 40, committed_at="2026-11-22T23:50:00.000000Z")
    times = [commit["commit_time"] for commit in api.json("projects/demo/commits/")]
    assert times == ["2026-11-22T23:50:00Z", "2026-11-22T23:39:48Z"]


def test_an_environment_has_what_the_table_of_environments_reads(api: ApiServer) -> None:
    api.add_execution()
    (environment,) = api.json("environments/", limit=9000, include="unfinished_job_count")["results"]
    assert READ_BY_VH["environment"] <= environment.keys()
    assert (environment["slug"], environment["unfinished_job_count"]) == ("default", 1)
    assert type(environment["per_user_queue_quota"]) is int
    for identifier in ("default", environment["id"]):
        assert api.json(f"environments/{identifier}/")["name"] == "default"


def test_an_execution_has_what_list_info_and_summarize_read(api: ApiServer, execution: str) -> None:
    (listed,) = api.json("executions/", project=api.demo.uuid)["results"]
    detail = api.json(f"executions/{execution}/")
    assert READ_BY_VH["execution"] <= listed.keys()
    assert READ_BY_VH["execution"] | READ_BY_VH["execution detail"] <= detail.keys()
    assert (detail["counter"], detail["status"], detail["step"]) == (1, "started", "Train model")
    assert detail["urls"]["display"] == "http://localhost/p/demo/executions/1/"
    assert detail["urls"]["stop"] == f"http://localhost/api/v0/executions/{execution}/stop/"
    assert (detail["project"]["name"], detail["environment"]["name"]) == ("demo", "default")
    assert detail["commit"]["identifier"] == api.commit.identifier
    assert detail["parameters"] == {"steps": 300, "layers": [3, 4], "alpha": 0.5}
    assert detail["cumulative_metadata"] == listed["cumulative_metadata"] == {"loss": 0.25, "note": "x"}
    assert {item["name"]: item["urls"] for item in detail["inputs"]} == {
        "images": ["https://example.org/a.png", "https://example.org/b.png"],
        "labels": [],
    }
    assert [(item["name"], item["purged"]) for item in detail["outputs"]] == [("sub/model.txt", False)]
    assert (listed["n_outputs"], detail["n_outputs"]) == (1, 1)


def test_a_list_says_the_same_of_an_execution_as_its_detail(api: ApiServer) -> None:
    """Lists read fewer columns, and share what executions have in common."""
    failed, attempt = api.started(commit=api.add_commit(api.project("other")), title="first", images=["https://a.b/c"])
    report = {"attempt": attempt, "state": "error", "failure_reason": "command_failed", "exit_code": 1}
    assert api.call(f"executions/{failed}/final", report).status_code == 200
    api.post(f"executions/{failed}/tags/", json={"tags": ["a", "b"]})
    in_task = api.add_execution(task_id=api.add_task().id, trial=0).uuid
    stopping, _ = api.started()
    api.post(f"executions/{stopping}/stop/")
    listed = {item["id"]: item for item in api.json("executions/")["results"]}
    assert listed.keys() == {failed, in_task, stopping}
    listed[stopping].pop("duration")  # it runs
    for identifier, item in listed.items():
        detail = api.json(f"executions/{identifier}/")
        assert item == {key: detail[key] for key in item}


def test_parameters_keep_the_order_in_which_the_step_declares_them(api: ApiServer, execution: str) -> None:
    assert list(api.json(f"executions/{execution}/")["parameters"]) == ["steps", "layers", "alpha"]


def test_a_duration_runs_while_the_execution_does_and_is_null_before(api: ApiServer) -> None:
    waiting = api.add_execution()
    assert api.json(f"executions/{waiting.uuid}/")["duration"] is None
    running, _ = api.started()
    first = api.json(f"executions/{running}/")["duration"]
    assert 0 <= first < api.json(f"executions/{running}/")["duration"]
    done = api.json(f"executions/{api.finished()}/")
    assert done["duration"] == api.json(f"executions/{done['id']}/")["duration"] >= 0
    api.post(f"executions/{waiting.uuid}/stop/")
    assert api.json(f"executions/{waiting.uuid}/")["duration"] is None


def test_excluded_keys_are_left_out_spaces_after_the_comma_or_not(api: ApiServer, execution: str) -> None:
    detail = api.json(f"executions/{execution}/", exclude="metadata, events,outputs")
    assert not {"metadata", "events", "outputs"} & detail.keys()
    assert "inputs" in detail


@pytest.mark.parametrize("identifier", ["{uuid}", "{project}:1", "demo:1", "{project}:latest", "demo:latest"])
def test_an_execution_is_found_by_uuid_number_or_latest(api: ApiServer, execution: str, identifier: str) -> None:
    path = identifier.format(uuid=execution, project=api.demo.uuid)
    assert api.json(f"executions/{path}/")["id"] == execution


@pytest.mark.parametrize("identifier", ["nope", "demo:2", "demo:x", "demo:-1", "nope:1", "demo:99999999999999999999"])
def test_an_unknown_execution_is_an_error_that_names_it(api: ApiServer, execution: str, identifier: str) -> None:
    answer = api.get(f"executions/{identifier}/")
    assert answer.status_code in (400, 404)
    assert problem(answer)


def test_a_datum_has_what_data_list_and_outputs_read(api: ApiServer, execution: str) -> None:
    (datum,) = api.json("data/", output_execution=execution, limit=5000)["results"]
    assert READ_BY_VH["datum"] <= datum.keys()
    assert (datum["name"], datum["size"], datum["uri"]) == ("sub/model.txt", 6, None)
    assert datum["output_execution"] == {"id": execution, "counter": 1}
    for path in (f"data/{datum['id']}/", f"data/{datum['id']}"):
        assert api.json(path) == datum


def test_every_url_ends_in_a_slash_and_is_on_the_host_that_was_asked(api: ApiServer, execution: str) -> None:
    paths = ("projects/", "projects/demo/", "commits/", "environments/", "executions/", f"executions/{execution}/")
    for path in paths:
        answer = api.client.get(f"/api/v0/{path}", headers=api.as_admin, base_url="http://box.example:8123")
        found = [url for url in urls_of(answer.json) if not url.endswith(".git")]
        assert found, path
        assert all(url.startswith("http://box.example:8123/api/v0/") and url.endswith("/") for url in found)


def test_paths_are_answered_directly_with_and_without_their_last_slash(api: ApiServer, execution: str) -> None:
    for path in ("users/me", "projects", "projects/demo", "commits", f"executions/{execution}/events", "pipelines"):
        assert [api.get(path).status_code, api.get(f"{path}/").status_code] == [200, 200]
    assert api.post(f"executions/{execution}/stop").status_code == 200


def test_a_double_slash_keeps_method_and_token(api: ApiServer, execution: str) -> None:
    answer = api.post(f"executions/{execution}//stop/", follow_redirects=True)
    assert (answer.status_code, answer.json) == (200, {"message": "Stopping"})
    first = api.post(f"executions/{execution}//stop/")
    assert first.status_code == 308


@pytest.mark.parametrize("noun", ["datum-aliases", "models", "deployments"])
def test_nouns_that_are_not_here_are_empty_lists(api: ApiServer, noun: str) -> None:
    assert api.json(f"{noun}/", limit=9001, ordering="-counter")["results"] == []


def test_a_project_has_one_possible_owner_and_nothing_to_fetch(api: ApiServer) -> None:
    assert api.json("projects/ownership_options/") == ["admin"]
    answer = api.post(f"projects/{api.demo.uuid}/fetch/")
    assert (answer.status_code, answer.json) == (201, {"commits": [], "errors": []})


def test_a_token_is_the_password_of_its_owner_only(api: ApiServer) -> None:
    path = "/api/v0/get-token/"
    good = {"username": "admin", "password": api.token}
    assert api.client.post(path, data=good).json == {"token": api.token}
    assert api.client.post(path, json=good).json == {"token": api.token}
    for bad in ({"username": "eve", "password": api.token}, {"username": "admin", "password": "x"}, {}):
        assert api.client.post(path, data=bad).status_code == 400
    assert api.client.post(path, data=b"[1]", content_type="application/json").status_code == 400


def test_a_list_of_executions_asks_the_database_as_often_for_many_as_for_few(api: ApiServer) -> None:
    def statements() -> int:
        asked: list[str] = []
        connection = api.app.extensions["pushmill"].local.context.db.conn
        connection.set_trace_callback(asked.append)
        assert api.get("executions/").status_code == 200
        connection.set_trace_callback(None)
        return len(asked)

    api.add_execution()
    api.get("executions/")
    few = statements()
    for _ in range(30):
        api.add_execution()
    assert statements() == few
