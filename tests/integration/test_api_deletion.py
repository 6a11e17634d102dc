"""Deletion by the API: executions, and the content of their outputs."""

from __future__ import annotations

from typing import Any

import pytest
from api_server import ApiServer, problem, said
from site_client import Person

from web.store import data


def delete(api: ApiServer, path: str) -> Any:
    return api.client.delete(f"/api/v0/{path}", headers=api.as_admin)


@pytest.fixture
def two(api: ApiServer) -> ApiServer:
    """The server with two executions that are complete."""
    api.finished()
    api.finished()
    return api


def test_a_deleted_execution_is_found_by_deleted_only_and_its_number_is_not_used_again(two: ApiServer) -> None:
    assert delete(two, "executions/demo:2/").status_code == 204
    for path in ("executions/demo:2/", "executions/demo:2/events/", "executions/demo:2/metadata/"):
        assert two.get(path).status_code == 404
    assert delete(two, "executions/demo:2/").status_code == 404
    assert [item["counter"] for item in two.json("executions/", deleted="false")["results"]] == [1]
    assert [item["counter"] for item in two.json("executions/")["results"]] == [1]
    for spelling in ("True", "true"):
        (gone,) = two.json("executions/", deleted=spelling)["results"]
        assert (gone["counter"], gone["deleted"]) == (2, True)
    assert two.json("executions/demo:latest/")["counter"] == 1
    assert two.json("projects/demo/")["execution_summary"]["count"] == 1
    assert two.add_execution().counter == 3


def test_its_log_can_still_be_read_by_its_uuid_and_it_is_deleted_once(two: ApiServer) -> None:
    uuid = two.json("executions/demo:1/")["id"]
    for _ in range(2):
        assert delete(two, f"executions/{uuid}/").status_code == 204
    assert two.json(f"executions/{uuid}/")["deleted"] is True
    assert "Execution created" in said(two, uuid)


def test_pages_show_a_deleted_execution_no_more(two: ApiServer) -> None:
    person = Person(two)
    person.log_in()
    pages = ("/p/demo/", f"/p/demo/commits/{two.commit.identifier}/")
    for page in pages:
        assert "/p/demo/executions/1/" in person.get(page).text
    delete(two, "executions/demo:1/")
    for page in pages:
        assert "/p/demo/executions/1/" not in person.get(page).text
    assert person.get("/p/demo/executions/1/").status_code == 404


@pytest.mark.parametrize("how", ["add_execution", "started"])
def test_an_execution_that_has_not_ended_cannot_be_deleted(api: ApiServer, how: str) -> None:
    getattr(api, how)()
    answer = delete(api, "executions/demo:1/")
    assert answer.status_code == 409
    assert "stop it and wait" in problem(answer)
    assert api.json("executions/demo:1/")["deleted"] is False


def test_a_purged_output_keeps_its_entry_and_loses_its_content(api: ApiServer) -> None:
    datum = api.stored(content=b"weights")
    path = data.get_path(api.config.outputs_dir, datum)
    assert path.exists()
    signed = api.json(f"data/{datum}/download/")["url"].removeprefix("http://localhost")
    for _ in range(2):
        assert api.post(f"data/{datum}/purge/").status_code == 200
    assert not path.exists()
    (output,) = api.json("executions/demo:1/")["outputs"]
    assert (output["id"], output["name"], output["purged"]) == (datum, "model.bin", True)
    execution = api.json("executions/demo:1/")["id"]
    assert api.json("data/", output_execution=execution)["results"] == api.json("data/")["results"] == []
    assert [item["id"] for item in api.json("data/", deleted="true")["results"]] == [datum]
    refused = api.get(f"data/{datum}/download/")
    assert (refused.status_code, "was purged on" in refused.get_json()["detail"]) == (404, True)
    assert "was purged" in api.client.get(signed).text
    person = Person(api)
    person.log_in()
    page = person.get("/p/demo/executions/1/").text
    assert "purged" in page
    assert f"outputs/{datum}" not in page


def test_an_execution_with_a_purged_input_fails_with_the_reason(api: ApiServer) -> None:
    datum = api.stored()
    api.post(f"data/{datum}/purge/")
    refused = api.add_execution(images=[f"datum://{datum}"])
    assert refused.failure_message == f'input "images": the output model.bin (datum://{datum}) was purged'


def test_purging_what_is_not_there_is_not_found(api: ApiServer) -> None:
    answer = api.post("data/00000000-0000-4000-8000-000000000000/purge/")
    assert answer.status_code == 404
    assert problem(answer)


def test_tags_are_replaced(two: ApiServer) -> None:
    for given, kept in (([" a ", "b", "a", ""], ["a", "b"]), ([], [])):
        answer = two.post("executions/demo:1/tags/", json={"tags": given})
        assert (answer.status_code, answer.json) == (200, {"tags": kept})
        assert two.json("executions/demo:1/")["tags"] == kept
    two.post("executions/demo:1/tags/", data={"tags": ["x", "y"]})
    assert two.json("executions/demo:1/")["tags"] == ["x", "y"]


@pytest.mark.parametrize("tags", ["a", [1], None, ["x" * 101], ["new\nline"], [str(number) for number in range(101)]])
def test_tags_that_cannot_be_are_refused(two: ApiServer, tags: object) -> None:
    answer = two.post("executions/demo:1/tags/", json={"tags": tags})
    assert answer.status_code == 400
    assert list(answer.json) == ["tags"]
