"""The fake server of the runner's tests answers every call of the protocol like the real one."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import runner_host
import urllib3
from api_server import RUNNER_TOKENS, ApiServer, listening
from runner_server import RunnerServer

from core.datum import make_datum_url
from core.git import lfs
from web.services.repositories import hosting
from web.store import projects

CONTENT = b"0123456789"
OID = hashlib.sha256(CONTENT).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Side:
    """A server with one execution that waits to be claimed, on its first attempt."""

    url: str
    token: str
    execution: str
    datum: str  # an output that is an input of the execution

    def request(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
        sent = {"Authorization": f"Token {self.token}"} | headers
        url = f"{self.url}/api/runner/{path}"
        response = urllib3.request(method, url, body=body, headers=sent, timeout=20, retries=False)
        return response.status, response.data

    def post(self, verb: str, body: dict[str, Any], execution: str = "") -> tuple[int, Any]:
        path = f"executions/{execution or self.execution}/{verb}"
        status, data = self.request("POST", path, json.dumps({"attempt": 1} | body).encode())
        return status, json.loads(data)

    def status(self, verb: str, body: dict[str, Any], execution: str = "") -> int:
        return self.post(verb, body, execution)[0]

    def log(self, text: bytes, start: int, execution: str = "", /, **changed: Any) -> tuple[int, int | None]:
        """The status, and how many bytes are acknowledged."""
        batch = {
            "attempt": 1, "stream": "stdout", "start": start, "end": start + len(text), "first_us": 1, "last_us": 2,
            "skipped": 0,
        }  # fmt: skip
        query = "&".join(f"{name}={value}" for name, value in (batch | changed).items())
        status, data = self.request("POST", f"executions/{execution or self.execution}/log?{query}", text)
        return status, json.loads(data).get("acknowledged")

    def upload(self, datum: str, name: str, content: bytes, attempt: int = 1, execution: str = "") -> tuple[int, Any]:
        path = f"executions/{execution or self.execution}/outputs/{datum}?attempt={attempt}&name={name}"
        status, data = self.request("PUT", path, content)
        return status, json.loads(data).get("sha256")

    def get(self, what: str, attempt: int = 1, execution: str = "", **headers: str) -> tuple[int, bytes]:
        path = f"executions/{execution or self.execution}/{what}?attempt={attempt}"
        status, data = self.request("GET", path, **headers)
        return status, data if status < 300 else b""

    def acknowledged(self) -> dict[str, int]:
        found: dict[str, int] = self.post("heartbeat", {})[1]["acknowledged"]
        return {name: count for name, count in found.items() if name != "status"}  # the server writes there too


def fake(directory: Path) -> Iterator[Side]:
    server = RunnerServer()
    recorded = server.add(runner_host.execution("true"))
    datum = str(uuid.uuid4())
    recorded.data, recorded.lfs = {datum: CONTENT}, {OID: CONTENT}
    yield Side(url=server.url, token=runner_host.TOKEN, execution=recorded.spec.uuid, datum=datum)
    server.close()


def real(directory: Path) -> Iterator[Side]:
    api = ApiServer(directory)
    datum = api.stored(content=CONTENT)
    execution, _ = api.placed(images=[make_datum_url(datum)])
    repository = projects.list_repositories(api.db, api.demo.id)[0]
    lfs.store_object(hosting.get_lfs_path(api.config, repository), OID, len(CONTENT), [CONTENT])
    with listening(api.app) as url:
        yield Side(url=url, token=RUNNER_TOKENS["one"], execution=execution, datum=datum)
    api.close()


@pytest.fixture(params=[fake, real])
def waiting(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Side]:
    yield from request.param(tmp_path / "data")


@pytest.fixture
def side(waiting: Side) -> Side:
    """With the execution claimed."""
    assert waiting.status("claim", {"resume": False}) == 200
    return waiting


REPORTS: list[tuple[str, dict[str, Any]]] = [
    ("heartbeat", {}),
    ("container", {"container_id": "abc", "image_digest": "sha256:1", "devices": ["GPU-a"], "stage_s": {"pull": 2.5}}),
    ("usage", {"samples": [[1, "cpu", 0.5]]}),
    ("detail", {"status_detail": "almost"}),
    ("preview", {"stream": "stdout", "start": 0, "text": "half"}),
    ("sources", {}),
]
FINAL = {"state": "error", "failure_reason": "command_failed", "message": "it failed", "exit_code": 1, "upload_s": 0.5}


def others(side: Side, execution: str = "", attempt: int = 1) -> list[int]:
    """The statuses of all calls that need a lease, besides the final report."""
    statuses = [side.status(verb, body | {"attempt": attempt}, execution) for verb, body in REPORTS]
    statuses.append(side.log(b"late\n", 0, execution, attempt=attempt)[0])
    statuses.append(side.upload(str(uuid.uuid4()), "late", b"late", attempt, execution)[0])
    statuses += [side.get(f"data/{side.datum}", attempt, execution)[0], side.get(f"lfs/{OID}", attempt, execution)[0]]
    return statuses


def test_a_runner_reports_itself(waiting: Side) -> None:
    body = json.dumps({"slots": 1, "info": {}, "executions": [], "clock_us": 0}).encode()
    for _ in range(2):
        status, orders = waiting.request("POST", "heartbeat", body)
        assert (status, type(json.loads(orders))) == (200, dict)


def test_a_token_that_nobody_has_is_refused(waiting: Side) -> None:
    for path in ("heartbeat", f"executions/{waiting.execution}/claim"):
        assert waiting.request("POST", path, b"{}", Authorization="Token wrong")[0] == 401


def test_an_execution_is_claimed_once_and_resumed_by_its_holder(waiting: Side) -> None:
    assert waiting.status("claim", {"resume": True}) == 409
    assert waiting.status("claim", {"resume": False, "attempt": 2}) == 409
    status, spec = waiting.post("claim", {"resume": False})
    assert (status, spec["uuid"], spec["attempt"]) == (200, waiting.execution, 1)
    assert waiting.status("claim", {"resume": False}) == 409
    for _ in range(2):
        status, again = waiting.post("claim", {"resume": True})
        assert (status, again | {"server_us": spec["server_us"]}) == (200, spec)
    assert waiting.status("claim", {"resume": True, "attempt": 2}) == 409


def test_nothing_is_reported_before_the_claim(waiting: Side) -> None:
    assert set(others(waiting)) == {409}
    assert waiting.status("final", FINAL) == 409


@pytest.mark.parametrize("attempt", [0, 2])
def test_nothing_is_reported_of_another_attempt(side: Side, attempt: int) -> None:
    assert set(others(side, attempt=attempt)) == {409}
    assert side.status("final", FINAL | {"attempt": attempt}) == 409


def test_an_unknown_execution_is_not_found(side: Side) -> None:
    unknown = str(uuid.uuid4())
    assert set(others(side, unknown)) == {404}
    assert [side.status(verb, FINAL | {"resume": True}, unknown) for verb in ("claim", "final")] == [404, 404]


def test_every_report_is_accepted_more_than_once(side: Side) -> None:
    for _ in range(2):
        assert {verb: side.status(verb, body) for verb, body in REPORTS} == {verb: 200 for verb, _ in REPORTS}


@pytest.mark.parametrize("attempt", [None, "1", True])
def test_an_attempt_that_is_not_a_number_is_refused(side: Side, attempt: Any) -> None:
    for verb, body in [*REPORTS, ("claim", {"resume": True}), ("final", FINAL)]:
        assert side.status(verb, body | {"attempt": attempt}) == 400, verb


def test_a_heartbeat_answers_with_the_orders(side: Side) -> None:
    status, orders = side.post("heartbeat", {})
    assert (status, orders["stop"]) == (200, "")
    assert orders["lease_s"] > 5
    assert side.acknowledged() == {"stdout": 0, "stderr": 0}


def test_the_sources_of_a_commit_are_wanted_at_first(side: Side) -> None:
    status, report = side.post("sources", {})
    assert (status, report["state"], report["missing"], report["skipped"]) == (200, "wanted", [], [])


def test_a_log_batch_is_stored_once_and_at_its_place(side: Side) -> None:
    assert side.log(b"one\ntwo\n", 0) == (200, 8)
    assert side.log(b"one\ntwo\n", 0) == (200, 8)  # once more
    assert side.log(b"one\n", 0) == (200, 8)  # a part of it once more
    for start, text in ((4, b"two\nthree\n"), (12, b"four\n"), (0, b"one\ntwo\nthree\n")):
        assert side.log(text, start) == (409, 8)
    assert side.log(b"three\n", 8) == (200, 14)
    assert side.log(b"", 14, end=20) == (200, 20)  # bytes that became no line
    assert side.log(b"error\n", 0, stream="stderr") == (200, 6)
    assert side.acknowledged() == {"stdout": 20, "stderr": 6}


def test_a_log_batch_may_leave_bytes_out(side: Side) -> None:
    assert side.log(b"one\n", 0) == (200, 4)
    assert side.log(b"two\n", 100) == (409, 4)
    assert side.log(b"two\n", 100, skipped=97) == (409, 4)
    assert side.log(b"two\n", 100, skipped=96) == (200, 104)
    assert side.log(b"two\n", 100, skipped=96) == (200, 104)


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        (b"half", {}),
        (b"x\n", {"stream": "stdin"}),
        (b"x\n", {"start": 5, "end": 2}),
        (b"x\n", {"start": "-1"}),
        (b"x\n", {"end": ""}),
        (b"x\n", {"skipped": 1}),
        (b"x\n", {"attempt": "one"}),
    ],
)
def test_a_log_batch_that_cannot_be_is_refused(side: Side, text: bytes, changed: dict[str, Any]) -> None:
    assert side.log(text, 0, **changed) == (400, None)


def test_a_preview_of_another_place_is_accepted_and_an_unknown_stream_is_not(side: Side) -> None:
    assert side.status("preview", {"stream": "stdout", "start": 7, "text": "late"}) == 200
    assert side.status("preview", {"stream": "stdin", "start": 0, "text": "half"}) == 400


def test_an_output_is_stored_once(side: Side) -> None:
    datum, sha256 = str(uuid.uuid4()), hashlib.sha256(b"model").hexdigest()
    assert side.upload(datum, "model", b"model") == (200, sha256)
    assert side.upload(datum, "model", b"model") == (200, sha256)
    assert side.upload(datum, "model", b"other") == (409, None)
    assert side.upload(datum, "other", b"model") == (409, None)
    assert side.upload(str(uuid.uuid4()), "model", b"model") == (200, sha256)
    assert side.upload(str(uuid.uuid4()), "../model", b"model") == (400, None)


def test_inputs_and_git_lfs_objects_are_served_from_any_byte_on(side: Side) -> None:
    for path in (f"data/{side.datum}", f"lfs/{OID}"):
        assert side.get(path) == (200, CONTENT)
        assert side.get(path, Range="bytes=4-") == (206, CONTENT[4:])
    assert side.get(f"data/{uuid.uuid4()}") == (404, b"")
    assert side.get(f"lfs/{'0' * 64}") == (404, b"")


def test_a_final_report_is_accepted_again_only_if_it_is_the_same(side: Side) -> None:
    for _ in range(2):
        assert side.status("final", FINAL) == 200
    assert side.status("final", FINAL | {"exit_code": 2}) == 409
    assert side.status("final", FINAL | {"state": "stopped", "failure_reason": None}) == 409
    assert side.status("final", FINAL | {"attempt": 2}) == 409


@pytest.mark.parametrize(
    "changed",
    [{"state": "started"}, {"state": "x"}, {"failure_reason": "x"}, {"failure_reason": None}, {"state": "complete"}],
)
def test_a_final_report_that_cannot_be_is_refused(side: Side, changed: dict[str, Any]) -> None:
    assert side.status("final", FINAL | changed) == 400
    assert side.status("heartbeat", {}) == 200


@pytest.mark.parametrize(
    "status", [[0, 4, 1], [0, 4, 1, "2", "end\n"], [4, 0, 1, 2, "end\n"], [0, 4, 1, 2, 3], {"a": 1}]
)
def test_last_lines_that_cannot_be_are_refused_with_their_report(side: Side, status: Any) -> None:
    assert side.status("final", FINAL | {"status": status}) == 400
    assert side.status("heartbeat", {}) == 200


def test_nothing_is_reported_after_the_end(side: Side) -> None:
    assert side.log(b"one\n", 0) == (200, 4)
    assert side.status("final", FINAL) == 200
    assert set(others(side)) == {409}
    assert side.log(b"one\n", 0) == (409, None)  # once more
    assert [side.status("claim", {"resume": resume}) for resume in (False, True)] == [409, 409]
