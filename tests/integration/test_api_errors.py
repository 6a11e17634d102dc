"""Every error below /api/ is JSON with one sentence in `detail`, whatever the route and the error."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from api_server import ApiServer
from flask import Flask
from werkzeug.test import TestResponse

from core import errors as core_errors
from core.states import FailureReason, State
from web.http import auth
from web.http.app import create_app


def assert_detail(answer: TestResponse, status: int) -> str:
    assert (answer.status_code, answer.mimetype) == (status, "application/json")
    assert isinstance(answer.json, dict)
    assert list(answer.json) == ["detail"]
    assert answer.json["detail"]
    return str(answer.json["detail"])


def api_rules(app: Flask) -> list[tuple[str, str]]:
    """Return (method, path) of every route below /api/, with a value for each variable."""
    found = []
    for rule in app.url_map.iter_rules():
        if rule.rule.startswith("/api/"):
            values = dict.fromkeys(rule.arguments, "00000000-0000-4000-8000-000000000000")
            _, path = rule.build(values) or ("", "")
            found += [(method, path) for method in sorted((rule.methods or set()) - {"OPTIONS", "HEAD"})]
    return found


def test_every_route_refuses_a_stranger_in_json(api: ApiServer) -> None:
    rules = api_rules(api.app)
    assert len(rules) > 30
    for method, path in rules:
        if path.endswith(("/get-token/", "/openapi.json", "/api/docs/")):
            continue
        answer = api.client.open(path, method=method)
        assert_detail(answer, 401)
        assert answer.headers["WWW-Authenticate"] == "Token"


def test_every_route_answers_a_method_that_it_has_not_in_json(api: ApiServer) -> None:
    for _, path in api_rules(api.app):
        answer = api.client.patch(path, headers=api.as_admin)
        assert_detail(answer, 405)
        assert answer.headers["Allow"]


@pytest.mark.parametrize(
    "path", ["/api/", "/api/nope", "/api/v0/", "/api/v1/users/me/", "/api/v0/users/me/x", "/api/v0/.."]
)
def test_everything_else_below_api_is_not_found_in_json(api: ApiServer, path: str) -> None:
    for headers in ({}, api.as_admin):
        assert_detail(api.client.get(path, headers=headers), 404)


@pytest.mark.parametrize(
    "path", ["projects/nope/", "projects/nope/commits/", "commits/nope/", "executions/nope/", "data/nope/",
             "data/nope/download/", "environments/nope/", "executions/nope/events/"],
)  # fmt: skip
def test_what_does_not_exist_is_named(api: ApiServer, path: str) -> None:
    assert "nope" in assert_detail(api.get(path), 404)


def test_a_body_that_is_too_large_is_refused_in_json(api: ApiServer) -> None:
    answer = api.client.post("/api/v0/get-token/", data={"username": "x" * 2_000_000})
    assert_detail(answer, 413)


ERRORS: list[tuple[Exception, int]] = [
    (core_errors.NotFound("no such thing"), 404),
    (core_errors.Denied("not for you"), 403),
    (core_errors.Conflict("somebody was faster"), 409),
    (core_errors.InvalidInput("seven is no colour"), 400),
    (core_errors.InvalidYaml(["line 1", "line 2"]), 400),
    (core_errors.InvalidDelivery("no push"), 400),
    (core_errors.IllegalTransition(State.COMPLETE, State.STARTED, "no"), 500),
    (core_errors.GitError("cannot fetch"), 500),
    (core_errors.ExecutionFailed(FailureReason.IMAGE, "no image"), 500),
]


def raising(data: Path, error: Exception) -> Flask:
    """An application with a route below /api/ and one elsewhere that raise `error`."""
    api = ApiServer(data)
    api.close()
    app = create_app(api.config)

    @auth.public
    def broken() -> str:
        raise error

    app.add_url_rule("/api/broken", "broken_api", broken)
    app.add_url_rule("/broken", "broken_page", broken)
    return app


@pytest.mark.parametrize(("error", "status"), ERRORS, ids=lambda value: type(value).__name__)
def test_each_error_of_ours_has_its_status_and_its_sentence(tmp_path: Path, error: Exception, status: int) -> None:
    client = raising(tmp_path, error).test_client()
    assert assert_detail(client.get("/api/broken"), status) == str(error)
    page = client.get("/broken")
    assert page.status_code == status
    assert page.mimetype in ("text/html", "text/plain")


def test_a_mistake_of_ours_is_logged_and_tells_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    client = raising(tmp_path, RuntimeError("secret inside")).test_client()
    with caplog.at_level(logging.ERROR):
        detail = assert_detail(client.get("/api/broken"), 500)
    assert "secret" not in detail
    assert any("secret inside" in str(record.exc_info) for record in caplog.records)


def test_a_programming_error_in_a_request_is_no_html_for_git_and_forges(api: ApiServer) -> None:
    assert api.client.get("/hooks/nope/nope").mimetype == "text/plain"
