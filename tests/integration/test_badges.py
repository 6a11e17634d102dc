"""The badge is always an image, the same bytes for the same state, and never an error."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from api_server import ApiServer

from core.model import Execution, PushEvent
from core.steps.resolve import resolve
from web.badges import merged, svg
from web.services import launch
from web.store import commits, projects
from web.store.db import execute, transaction


def pushed(api: ApiServer, branch: str = "main") -> Execution:
    """One execution of a push to a branch."""
    repository = projects.repositories(api.db, api.demo.id)[0]
    event = PushEvent(ref=f"refs/heads/{branch}", before="0" * 40, after=api.commit.identifier, identity=branch)
    with transaction(api.db):
        push = commits.add_push(api.db, repository.id, event, None)
        resolved = resolve(api.commit.config, "Train model")
        return launch.launch(api.db, api.config, api.demo, api.commit, resolved, api.admin, push_id=push)


def end(api: ApiServer, execution: Execution, state: str) -> None:
    sql = "UPDATE execution SET state = ?, ended_at = '2026-11-22T23:50:00.000000Z' WHERE id = ?"
    execute(api.db, sql, (state, execution.id))


def words(image: str) -> str:
    return ET.fromstring(image).attrib["aria-label"]


@pytest.mark.parametrize(
    ("state", "word"),
    [
        ("queued", "running"),
        ("started", "running"),
        ("complete", "passing"),
        ("error", "failing"),
        ("stopped", "stopped"),
    ],
)
def test_it_says_how_the_newest_push_went(api: ApiServer, state: str, word: str) -> None:
    end(api, pushed(api), state)
    answer = api.client.get("/badge/demo.svg")
    assert (answer.status_code, words(answer.text)) == (200, f"demo: {word}")
    assert answer.mimetype == "image/svg+xml"
    assert words(api.client.get("/badge/demo.svg?step=Train model").text) == f"Train model: {word}"


@pytest.mark.parametrize(
    "path",
    ["none.svg", "demo.svg", "demo.svg?branch=none", "demo.svg?step=none", "%00%ff%3Cb.svg", "demo.svg?branch=%ff"],
)
def test_what_is_unknown_is_an_image_too(api: ApiServer, path: str) -> None:
    answer = api.client.get(f"/badge/{path}")
    assert answer.status_code == 200
    assert words(answer.text).endswith(": unknown")


def test_caches_can_tell_a_change(api: ApiServer) -> None:
    execution = pushed(api)
    first = api.client.get("/badge/demo.svg")
    etag = first.headers["ETag"]
    assert not etag.startswith("W/")
    assert api.client.get("/badge/demo.svg").data == first.data
    again = api.client.get("/badge/demo.svg", headers={"If-None-Match": etag})
    assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", etag)
    end(api, execution, "complete")
    after = api.client.get("/badge/demo.svg", headers={"If-None-Match": etag})
    assert (after.status_code, after.headers["Last-Modified"]) == (200, "Sun, 22 Nov 2026 23:50:00 GMT")
    assert after.headers["ETag"] != etag


def test_it_carries_no_cookie_and_no_script(api: ApiServer) -> None:
    token = api.client.get("/login").text.split('name="csrf_token" value="')[1].split('"')[0]
    form = {"username": "admin", "token": api.token, "csrf_token": token}
    assert api.client.post("/login", data=form).status_code == 303
    headers = api.client.get("/badge/demo.svg").headers
    assert "Set-Cookie" not in headers
    assert "Vary" not in headers
    assert headers["Cache-Control"] == "no-cache, max-age=0"
    assert headers["Content-Security-Policy"] == "default-src 'none'; style-src 'unsafe-inline'"


def test_names_are_escaped_and_cut() -> None:
    image = svg("<script>\"'&\u202e\x00" + "x" * 100, "passing")
    ET.fromstring(image)
    assert "<script>" not in image
    assert len(words(image)) <= 64 + len(": passing")


def test_it_shows_the_newest_push_of_its_branch_only(api: ApiServer) -> None:
    end(api, pushed(api, "main"), "complete")
    end(api, pushed(api, "wild"), "error")
    assert words(api.client.get("/badge/demo.svg").text) == "demo: passing"
    assert words(api.client.get("/badge/demo.svg?branch=wild").text) == "demo: failing"


def test_no_execution_is_unknown() -> None:
    assert merged([]) == "unknown"


def test_one_that_was_run_again_counts_by_its_last_try(api: ApiServer) -> None:
    failed = pushed(api)
    end(api, failed, "error")
    with transaction(api.db):
        again = launch.again(api.db, api.config, failed, api.admin, "Runs again")
    end(api, again, "complete")
    assert words(api.client.get("/badge/demo.svg").text) == "demo: passing"
