"""Static files have addresses with a version, and texts are compressed."""

from __future__ import annotations

import gzip
import re

import pytest
from api_server import ApiServer
from flask.testing import FlaskClient
from site_client import Person

from web.http.static_files import FOLDER

GZIP = {"Accept-Encoding": "gzip, deflate, br"}


@pytest.fixture
def stranger(api: ApiServer) -> FlaskClient:
    return api.app.test_client()


def test_addresses_of_static_files_have_a_version_and_are_kept_for_good(stranger: FlaskClient) -> None:
    found = re.findall(r'(?:href|src)="(/static/[^"]+)"', stranger.get("/login").text)
    assert {path.rpartition("/")[2] for path in found} >= {"pushmill.css", "refresh.js", "pushmill.svg"}
    for path in found:
        answer = stranger.get(path)
        assert answer.status_code == 200
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert answer.data == (FOLDER / path.split("/", 3)[3]).read_bytes()


def test_scripts_import_each_other_by_relative_addresses_and_so_with_the_version() -> None:
    for script in FOLDER.glob("*.js"):
        imported = re.findall(r'(?:from|import\() ?"([^"]+)"', script.read_text())
        assert [path for path in imported if not path.startswith("./")] == [], script.name


def test_a_page_that_was_open_during_an_upgrade_gets_the_present_file_and_does_not_keep_it(
    stranger: FlaskClient,
) -> None:
    answer = stranger.get("/static/0123456789ab/copy.js")
    assert answer.data == (FOLDER / "copy.js").read_bytes()
    assert answer.headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize("path", ["/static/x/none.js", "/static/x/../../app.py", "/static/copy.js"])
def test_other_files_are_not_static(stranger: FlaskClient, path: str) -> None:
    assert stranger.get(path).status_code == 404


@pytest.mark.parametrize("path", ["/", "/p/demo/", "/api/v0/openapi.json", "/static/x/pushmill.css", "/nowhere/"])
def test_texts_are_compressed_for_those_who_take_them(api: ApiServer, path: str) -> None:
    person = Person(api)
    person.log_in()
    packed, plain = person.get(path, headers=GZIP), person.get(path)
    assert packed.headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in plain.headers
    assert gzip.decompress(packed.data) == plain.data
    assert len(packed.data) < len(plain.data) / 2
    assert all("Accept-Encoding" in answer.headers["Vary"] for answer in (packed, plain))
    assert packed.content_length == len(packed.data)


def test_the_size_of_what_is_compressed_varies(stranger: FlaskClient) -> None:
    sizes = {len(stranger.get("/static/x/pushmill.css", headers=GZIP).data) for _ in range(20)}
    assert len(sizes) > 1


def test_short_answers_are_not_compressed(stranger: FlaskClient) -> None:
    assert "Content-Encoding" not in stranger.get("/healthz", headers=GZIP).headers
