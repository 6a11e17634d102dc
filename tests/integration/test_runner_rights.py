"""A runner may access only executions that are leased to it, and their repositories."""

from __future__ import annotations

import base64
import hashlib
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from api_server import RUNNER_TOKENS, ApiServer
from werkzeug.routing import Rule
from werkzeug.test import TestResponse

from core.git import lfs
from web.http import auth
from web.services.repositories import hosting
from web.store import executions, runners
from web.store.db import transaction

BODY = {
    "attempt": 1, "resume": True, "container_id": "made-up", "image_digest": "sha256:0", "devices": [], "samples": [],
    "status_detail": "made up", "state": "complete", "exit_code": 0, "stream": "stdout", "start": 0, "text": "made up",
}  # fmt: skip
QUERY: dict[str, Any] = {
    "attempt": 1, "name": "file", "stream": "stdout", "start": 0, "end": 8, "first_us": 0, "last_us": 0,
    "service": "git-upload-pack",
}  # fmt: skip


CONTENT = b"an object of Git LFS"
OID = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Held:
    """A server where runner one holds an execution of project `demo`, which reads an output."""

    api: ApiServer
    execution: str
    datum: str

    def routes(self, prefix: str) -> Iterator[tuple[str, str, Rule]]:
        """Every method and address below `prefix`, filled in with what runner one holds."""
        for rule in self.api.app.url_map.iter_rules():
            if rule.rule.startswith(prefix):
                datum = self.datum if "GET" in (rule.methods or set()) else str(uuid.uuid4())
                values = {"execution": self.execution, "datum": datum, "name": "demo", "oid": OID}
                path = self.api.app.url_map.bind("localhost").build(
                    rule.endpoint, {name: values[name] for name in rule.arguments}, method=method_of(rule)
                )
                yield method_of(rule), path, rule

    def ask(self, method: str, path: str, authorization: str) -> TestResponse:
        raw = path.endswith("/log") or "/outputs/" in path
        body: dict[str, Any] = {"data": b"made up\n"} if raw else {"json": BODY}
        if path.startswith("/git/"):
            body = {"data": b"0000", "content_type": f"application/x-{path.rpartition('/')[2]}-request"}
        headers = {"Authorization": authorization}
        with self.api.app.test_client() as client:
            answer = client.open(path, method=method, query_string=QUERY, headers=headers, **body)
        if path.startswith("/git/") or "/data/" in path or "/lfs/" in path:
            answer.close()  # what git or the file itself answers is not of interest here
        return answer

    def state(self) -> tuple[Any, ...]:
        """All that a call might have changed."""
        found = self.api.db.execute("SELECT * FROM execution ORDER BY id").fetchall()
        counted = [self.api.db.execute(f"SELECT COUNT(*) FROM {name}").fetchone() for name in ("datum", "state_change")]
        return (found, counted, [path.name for path in self.api.config.logs_dir.rglob("*")])


def method_of(rule: Rule) -> str:
    return min((rule.methods or set()) - {"HEAD", "OPTIONS"})


def token(value: str) -> str:
    return f"Token {value}"


def basic(value: str) -> str:
    return "Basic " + base64.b64encode(f"runner:{value}".encode()).decode()


@pytest.fixture
def held(api: ApiServer) -> Held:
    path = hosting.get_repository_path(api.config, hosting.get_repository(api.db, api.demo))
    subprocess.run(["git", "init", "--quiet", "--bare", path], check=True)
    datum = api.stored()
    execution, _ = api.started(images=[f"datum://{datum}"])
    objects = hosting.get_lfs_path(api.config, hosting.get_repository(api.db, api.demo))
    lfs.store_object(objects, OID, len(CONTENT), [CONTENT])
    return Held(api, execution, datum)


def test_every_runner_route_is_for_runners_and_for_nobody_else(held: Held) -> None:
    before, walked = held.state(), 0
    for method, path, rule in held.routes("/api/runner"):
        assert auth.find_permission(held.api.app, rule.endpoint) == "runner", rule
        for authorization in (
            token("pm_" + "0" * 40),
            token(held.api.token),
            basic(RUNNER_TOKENS["one"]),
            "",
            "Token ",
        ):
            answer = held.ask(method, path, authorization)
            assert answer.status_code == 401, (path, authorization)
            assert answer.json
        walked += 1
    assert walked >= 7
    assert held.state() == before


def test_a_runner_can_say_nothing_of_an_execution_that_another_one_holds(held: Held) -> None:
    before, walked = held.state(), 0
    for method, path, _ in held.routes("/api/runner/executions"):
        answer = held.ask(method, path, token(RUNNER_TOKENS["two"]))
        assert answer.status_code == 409, (path, answer.text)
        assert b"script" not in answer.data
        walked += 1
    assert walked >= 6
    assert held.state() == before
    for method, path, _ in held.routes("/api/runner/executions"):  # the same calls are fine for its holder
        if not path.endswith("/final"):
            assert held.ask(method, path, token(RUNNER_TOKENS["one"])).status_code == 200, path


def test_a_runner_can_say_nothing_of_an_execution_that_there_is_not(held: Held) -> None:
    other = Held(held.api, str(uuid.uuid4()), held.datum)
    for method, path, _ in other.routes("/api/runner/executions"):
        assert other.ask(method, path, token(RUNNER_TOKENS["one"])).status_code == 404, path


def test_a_runner_reads_the_repositories_of_what_it_holds_and_writes_to_none(held: Held) -> None:
    walked = 0
    for method, path, _ in held.routes("/git/"):
        asked = {name: held.ask(method, path, basic(RUNNER_TOKENS[name])).status_code for name in RUNNER_TOKENS}
        not_theirs = path.endswith("receive-pack") or "/info/lfs/" in path
        assert asked == {"one": 404 if not_theirs else 200, "two": 404}, path
        assert held.ask(method, path, basic("pm_unknown")).status_code == 401
        assert held.ask(method, path, token(RUNNER_TOKENS["one"])).status_code == 401
        walked += 1
    assert walked >= 3
    with held.api.app.test_client() as client:
        writing = {"service": "git-receive-pack"}
        headers = {"Authorization": basic(RUNNER_TOKENS["one"])}
        assert client.get("/git/demo.git/info/refs", query_string=writing, headers=headers).status_code == 404


def test_a_runner_reads_no_repository_after_the_end_of_its_execution(held: Held) -> None:
    path = "/git/demo.git/info/refs"
    assert held.ask("GET", path, basic(RUNNER_TOKENS["one"])).status_code == 200
    assert held.api.call(f"executions/{held.execution}/final", BODY).status_code == 200
    assert held.ask("GET", path, basic(RUNNER_TOKENS["one"])).status_code == 404


def test_a_runner_reads_the_outputs_that_what_it_holds_names_and_no_others(held: Held) -> None:
    def status(datum: str, runner: str = "one", attempt: int = 1, execution: str = held.execution) -> int:
        path = f"/api/runner/executions/{execution}/data/{datum}"
        headers = {"Authorization": token(RUNNER_TOKENS[runner])}
        with held.api.client.get(path, query_string={"attempt": attempt}, headers=headers) as answer:
            return answer.status_code

    other = held.api.stored("other.bin")
    assert [status(held.datum), status(other), status(str(uuid.uuid4()))] == [200, 404, 404]
    assert [status(held.datum, "two"), status(held.datum, attempt=2), status(held.datum, attempt=0)] == [409] * 3
    reader, _ = held.api.started(images=[f"datum://{other}"])
    assert [status(other, execution=reader), status(held.datum, execution=reader)] == [200, 404]
    assert held.api.call(f"executions/{held.execution}/final", BODY).status_code == 200
    assert status(held.datum) == 409


def test_a_removed_runner_is_nobody_any_more(held: Held) -> None:
    one = runners.find_by_name(held.api.db, "one")
    assert one is not None
    with transaction(held.api.db):
        runners.remove(held.api.db, one.id)
    before = held.state()
    for prefix, authorization in (("/api/runner", token), ("/git/", basic)):
        for method, path, _ in held.routes(prefix):
            assert held.ask(method, path, authorization(RUNNER_TOKENS["one"])).status_code == 401, path
    assert held.state() == before
    assert executions.get_by_uuid(held.api.db, held.execution).runner_id == one.id
    kept = runners.get(held.api.db, one.id)
    assert kept is not None
    assert kept.name == "one"


def test_what_a_runner_was_given_and_has_not_claimed_is_not_its_own_yet(api: ApiServer) -> None:
    datum = api.stored()
    execution, _ = api.placed(images=[f"datum://{datum}"])
    placed = Held(api, execution, datum)
    before = placed.state()
    for method, path, _ in placed.routes("/api/runner/executions"):
        assert placed.ask(method, path, token(RUNNER_TOKENS["one"])).status_code == 409, path
    assert placed.ask("GET", "/git/demo.git/info/refs", basic(RUNNER_TOKENS["one"])).status_code == 404
    assert placed.state() == before
