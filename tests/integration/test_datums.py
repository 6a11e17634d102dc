"""Which outputs an execution may read; the others are refused before anything runs."""

from __future__ import annotations

import hashlib
import uuid
from typing import Any

import pytest
from api_server import ApiServer, said

from core.errors import InvalidFields
from core.model import EventKind, PullRequestEvent, PushEvent
from core.states import FailureReason
from web.services import launch
from web.store import approvals, pull_requests, pushes
from web.store.db import transaction
from web.store.pushes import NewPush, PushOutcome


def claimed(api: ApiServer, *urls: str, **more: Any) -> Any:
    execution, attempt = api.placed(images=urls, **more)
    answer = api.call(f"executions/{execution}/claim", {"attempt": attempt, "resume": False})
    assert answer.status_code == 200
    return answer.json


def brought(api: ApiServer, *, by_a_fork: bool) -> None:
    """Record a push of the commit, to main or as the head of a pull request of a fork."""
    repository_id, sha = api.commit.repository_id, api.commit.identifier
    request = PullRequestEvent(
        number=7,
        sha=sha,
        title="t",
        author="eve",
        url="https://f/7",
        head_branch="w",
        base_branch="main",
        from_fork=True,
    )
    kind = EventKind.PULL_REQUEST if by_a_fork else EventKind.PUSH
    ref = "refs/pull/7/head" if by_a_fork else "refs/heads/main"
    event = PushEvent(kind=kind, ref=ref, before="0" * 40, after=sha, identity=ref)
    with transaction(api.db):
        known = pull_requests.save(api.db, repository_id, request, sha, "2026-11-22T23:39:48.000000Z")
        push = pushes.add_push(
            api.db,
            NewPush(
                repository_id=repository_id,
                event=event,
                pull_request_id=known.id if by_a_fork else None,
            ),
        )
        assert push
        pushes.finish_push(api.db, push, PushOutcome(commit_id=api.commit.id))


def test_a_runner_is_told_what_the_outputs_are_that_inputs_name(api: ApiServer) -> None:
    datum = api.stored("sub/model.bin", b"model")
    spec = claimed(api, f"datum://{datum}", f"datum://{datum.upper()}", "https://example.org/a.png")
    sums = {name: hashlib.new(name, b"model").hexdigest() for name in ("md5", "sha1", "sha256")}
    assert spec["data"] == [{"uuid": datum, "name": "sub/model.bin", "size": 5} | sums]
    assert claimed(api, "https://example.org/a.png")["data"] == []


def test_an_output_of_nobody_and_one_of_another_project_are_the_same(api: ApiServer) -> None:
    other = api.project("other")
    foreign = api.stored(commit=api.add_commit(other))
    for stranger in (foreign, str(uuid.uuid4())):
        execution = api.add_execution(images=[f"datum://{api.stored()}", f"datum://{stranger}"])
        message = f'input "images": there is no output datum://{stranger} in this project'
        assert (execution.state, execution.failure_reason) == ("error", FailureReason.INPUT)
        assert execution.failure_message == message
        assert said(api, execution.uuid) == ["Execution created", message]


def test_a_strangers_code_reads_no_output_before_it_is_approved(api: ApiServer) -> None:
    datum = api.stored()
    waiting, attempt = api.placed(images=[f"datum://{datum}"])
    brought(api, by_a_fork=True)
    for url in (f"datum://{datum}", "https://example.org/a.png"):
        with pytest.raises(InvalidFields, match="comes from a fork and is not approved"):
            api.add_execution(images=[url])
    spec = api.call(f"executions/{waiting}/claim", {"attempt": attempt, "resume": False}).json
    assert spec
    assert spec["data"] == []
    path, headers = f"/api/runner/executions/{waiting}/data/{datum}", {"Authorization": "Token pm_runner_one"}
    assert api.client.get(path, query_string={"attempt": attempt}, headers=headers).status_code == 404
    with transaction(api.db):
        approvals.add(api.db, api.commit.repository_id, api.commit.identifier, api.admin.id)
    assert api.add_execution(images=[f"datum://{datum}"]).state == "created"
    with api.client.get(path, query_string={"attempt": attempt}, headers=headers) as answer:
        assert answer.status_code == 200


def test_what_runs_again_asks_again(api: ApiServer) -> None:
    datum = api.stored()
    execution = api.add_execution(images=[f"datum://{datum}"])
    brought(api, by_a_fork=True)
    with transaction(api.db), pytest.raises(InvalidFields, match="comes from a fork and is not approved"):
        launch.rerun(api.context, execution, api.admin, "Runs again")
    brought(api, by_a_fork=False)
    with transaction(api.db):
        again = launch.rerun(api.context, execution, api.admin, "Runs again")
    assert again.state == "created"


def test_an_execution_may_name_more_outputs_than_a_statement_has_places_for(api: ApiServer) -> None:
    own = [api.stored(), api.stored()]
    strangers = [str(uuid.uuid4()) for _ in range(40_000)]
    refused = api.add_execution(images=[f"datum://{datum}" for datum in [*own, *strangers]])
    assert refused.failure_message == f'input "images": there is no output datum://{strangers[0]} in this project'
