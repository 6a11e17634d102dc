"""Projects by the API: created, found with their repository, and removed."""

from __future__ import annotations

import pytest
from api_server import ApiServer, problem

from web.store import data


@pytest.mark.parametrize("kind", ["data", "json"])
def test_a_project_is_created_from_a_form_or_json_and_can_be_pushed_to(api: ApiServer, kind: str) -> None:
    answer = api.post("projects/", **{kind: {"name": "mnist", "description": "digits", "owner": "admin"}})
    assert answer.status_code == 201
    made = answer.json
    assert (made["name"], made["description"], made["owner"]["username"]) == ("mnist", "digits", "admin")
    assert api.json(f"projects/{made['id']}/") == made
    (repository,) = api.json("repositories/", project="mnist")["results"]
    assert repository["url"] == "http://localhost/git/mnist.git"
    assert repository["project"] == {"id": made["id"], "name": "mnist"}
    assert api.json(f"repositories/{repository['id']}/") == repository


@pytest.mark.parametrize(
    ("given", "field", "said"),
    [
        ({"name": "demo"}, "name", "already exists"),
        ({"name": "No Spaces!"}, "name", "not a valid project name"),
        ({}, "name", "name is required"),
        ({"name": ["a"]}, "name", "must be text"),
        ({"name": "x", "owner": "somebody"}, "owner", "must be admin"),
        ({"name": "x", "description": 5}, "description", "must be text"),
    ],
)
def test_what_cannot_be_a_project_is_refused_at_its_field(
    api: ApiServer, given: dict[str, object], field: str, said: str
) -> None:
    answer = api.post("projects/", json=given)
    assert answer.status_code == 400
    assert list(answer.json) == [field]
    assert said in problem(answer)
    assert len(api.json("projects/")["results"]) == 1


def test_the_name_that_is_taken_has_the_code_that_clients_know(api: ApiServer) -> None:
    answer = api.post("projects/", data={"name": "demo"})
    assert answer.json["name"][0]["code"] == "unique"


def test_a_removed_project_leaves_no_rows_and_no_files(api: ApiServer) -> None:
    datum = api.stored()
    content = data.get_path(api.config.outputs_dir, datum)
    assert content.exists()
    assert delete(api, "projects/demo/") == 204
    assert api.json("projects/")["results"] == api.json("executions/")["results"] == []
    assert not content.exists()
    assert delete(api, "projects/demo/") == 404


def test_a_project_with_something_running_stays(api: ApiServer) -> None:
    api.started()
    answer = api.client.delete("/api/v0/projects/demo/", headers=api.as_admin)
    assert answer.status_code == 409
    assert "#1 of demo" in problem(answer)
    assert api.json("executions/")["count"] == 1


@pytest.mark.parametrize("number", ["99", "x", "demo"])
def test_an_unknown_repository_is_named(api: ApiServer, number: str) -> None:
    answer = api.get(f"repositories/{number}/")
    assert answer.status_code == 404
    assert number in problem(answer)


def delete(api: ApiServer, path: str) -> int:
    return api.client.delete(f"/api/v0/{path}", headers=api.as_admin).status_code
