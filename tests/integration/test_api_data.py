"""Files that users upload, and aliases of files."""

from __future__ import annotations

import hashlib
import io
import uuid
from pathlib import Path
from typing import Any

import pytest
from api_server import ApiServer, problem
from werkzeug.test import TestResponse

from web.store import data


def upload(api: ApiServer, content: bytes = b"a,b\n", filename: str = "train.csv", **fields: str) -> TestResponse:
    form: dict[str, Any] = {"project": "demo", **fields, "data": (io.BytesIO(content), filename)}
    return api.post("data/", data=form, content_type="multipart/form-data")


def test_an_uploaded_file_is_listed_downloaded_and_belongs_to_no_execution(api: ApiServer) -> None:
    content = bytes(range(256)) * 1000  # above 500 kB the test client leaves a file open
    answer = upload(api, content, name="sets/train.csv")
    assert answer.status_code == 201
    made = answer.json
    assert (made["name"], made["size"], made["output_execution"]) == ("sets/train.csv", len(content), None)
    assert made["sha256"] == hashlib.sha256(content).hexdigest()
    assert made == api.json(f"data/{made['id']}/") == api.json("data/", project="demo")["results"][0]
    signed = api.json(f"data/{made['id']}/download/")["url"].removeprefix("http://localhost")
    assert api.client.get(signed, buffered=True).data == content
    assert upload(api).json["name"] == "train.csv"


def test_an_uploaded_file_is_an_input_of_executions(api: ApiServer) -> None:
    datum = upload(api).json["id"]
    execution = api.add_execution(images=[f"datum://{datum}"])
    assert execution.failure_message is None


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "nul\0"])
def test_a_name_that_leads_elsewhere_is_refused_and_leaves_nothing(api: ApiServer, name: str) -> None:
    assert upload(api, name=name).status_code == 400
    assert [path for path in api.config.outputs_dir.rglob("*") if path.is_file()] == []


def test_what_is_no_upload_is_refused_at_its_field(api: ApiServer) -> None:
    answer = api.post("data/", data={"project": "demo"})
    assert list(answer.json) == ["data"]
    assert upload(api, project="nope").status_code == 404


def test_an_upload_above_the_limit_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    api = ApiServer(tmp_path / "small", limits={"output_bytes": 1000})
    form = b'--x\r\nContent-Disposition: form-data; name="data"; filename="x"\r\n\r\n%s\r\n--x--\r\n' % bytes(1 << 21)
    answer = api.post("data/", data=form, content_type="multipart/form-data; boundary=x")
    assert answer.status_code == 413
    assert api.json("data/")["results"] == []
    assert not api.config.outputs_dir.exists() or [*api.config.outputs_dir.rglob("*.*")] == []
    api.close()


def test_a_removed_project_takes_its_uploads_along(api: ApiServer) -> None:
    path = data.get_path(api.config.outputs_dir, upload(api).json["id"])
    assert path.exists()
    assert api.client.delete("/api/v0/projects/demo/", headers=api.as_admin).status_code == 204
    assert not path.exists()


def test_an_alias_names_one_file_and_is_moved_to_another(api: ApiServer) -> None:
    first, second = upload(api).json["id"], upload(api, filename="b.csv").json["id"]
    for datum in (first, f"datum://{second}"):
        answer = api.post("datum-aliases/", json={"project": "demo", "name": "newest", "datum": datum})
        assert answer.status_code == 201
        assert answer.json["datum"]["id"] == datum.removeprefix("datum://")
    (alias,) = api.json("datum-aliases/", project="demo", no_count="true", ordering="-ctime")["results"]
    assert (alias["name"], alias["datum"]["id"], alias["datum"]["aliases"]) == ("newest", second, ["newest"])
    assert api.json(f"data/{first}/")["aliases"] == []
    assert api.json("datum-aliases/resolve/", project=api.demo.uuid, name="newest") == alias
    api.project("other")
    assert api.json("datum-aliases/", project="other")["results"] == []


def test_an_alias_as_an_input_is_the_file_that_it_names_at_the_launch(api: ApiServer) -> None:
    datum = upload(api).json["id"]
    api.post("datum-aliases/", json={"project": "demo", "name": "newest", "datum": datum})
    execution = api.add_execution(images=["datum://newest"])
    assert execution.inputs["images"]["urls"] == [f"datum://{datum}"]
    unknown = api.add_execution(images=["datum://oldest"])
    assert unknown.failure_message == 'input "images": there is no alias datum://oldest in this project'


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"name": "no spaces"}, "name"),
        ({"name": str(uuid.UUID(int=5))}, "name"),
        ({"name": ""}, "name"),
        ({"name": 5}, "name"),
        ({"datum": str(uuid.UUID(int=5))}, "datum"),
        ({"datum": None}, "datum"),
    ],
)
def test_what_cannot_be_an_alias_is_refused_at_its_field(api: ApiServer, given: dict[str, Any], field: str) -> None:
    datum = upload(api).json["id"]
    answer = api.post("datum-aliases/", json={"project": "demo", "name": "newest", "datum": datum} | given)
    assert answer.status_code == 400
    assert list(answer.json) == [field]


def test_files_of_other_projects_are_unknown(api: ApiServer) -> None:
    datum = upload(api).json["id"]
    api.project("other")
    answer = api.post("datum-aliases/", json={"project": "other", "name": "newest", "datum": datum})
    assert answer.json["datum"][0]["code"] == "does_not_exist"
    assert api.get("datum-aliases/resolve/", project="other", name="newest").status_code == 404
    assert "newest" in problem(api.get("datum-aliases/resolve/", project="demo", name="newest"))
