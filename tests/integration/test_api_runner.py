"""The runners' protocol: who may report, what is stored once, and which reports come too late."""

from __future__ import annotations

import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from api_server import ApiServer, said

from core import clock
from core.states import State
from web.processes import sweep
from web.services import reruns
from web.services.executions import lifecycle
from web.services.scheduling.dispatch import dispatch
from web.store import executions, usage
from web.store.db import execute, transaction
from web.store.selection import Selection

SILENCE_S = 7200.0


def expire(api: ApiServer, execution: str, at: str = "2026-01-01T00:00:00.000000Z") -> None:
    """Move the end of the lease to that time, as if the runner had been silent since."""
    with transaction(api.db):
        execute(api.db, "UPDATE execution SET lease_expires_at = ? WHERE uuid = ?", (at, execution))


def status_of(api: ApiServer, execution: str) -> str:
    return str(api.json(f"executions/{execution}/")["status"])


def test_a_claim_answers_everything_that_a_runner_needs_in_its_order(api: ApiServer) -> None:
    execution, attempt = api.placed()
    answer = api.call(f"executions/{execution}/claim", {"attempt": attempt, "resume": False})
    spec = answer.json
    assert spec is not None
    assert (spec["uuid"], spec["attempt"], spec["counter"], spec["project_name"]) == (execution, 1, 1, "demo")
    assert (spec["commit_identifier"], spec["image"]) == (api.commit.identifier, "python:3.12")
    assert list(spec["parameters"]) == ["steps", "layers", "alpha"]
    assert [item["name"] for item in spec["inputs"]] == ["images", "labels"]
    assert "train.py" in spec["script"]
    assert spec["config"]["valohai.project-name"] == "admin/demo"
    assert api.execution(execution).state is State.STARTED


def test_an_execution_is_claimed_once_and_by_the_runner_it_was_placed_on(api: ApiServer) -> None:
    execution, attempt = api.placed()
    body = {"attempt": attempt, "resume": False}
    path = f"executions/{execution}/claim"
    assert api.call(path, body, "two").status_code == 409
    assert api.call(path, body | {"attempt": attempt + 1}).status_code == 409
    assert api.call(path, body | {"resume": True}).status_code == 409
    assert api.call(path, body).status_code == 200
    assert api.call(path, body).status_code == 409


def test_its_holder_gets_the_specification_again_by_resuming(api: ApiServer) -> None:
    execution, attempt = api.placed()
    path = f"executions/{execution}/claim"
    first = api.call(path, {"attempt": attempt}).json
    again = api.call(path, {"attempt": attempt, "resume": True}).json
    assert first is not None
    assert again == first | {"server_us": again["server_us"]}
    assert api.call(path, {"attempt": attempt, "resume": True}, "two").status_code == 409


def test_a_stopped_execution_is_not_claimed(api: ApiServer) -> None:
    execution, attempt = api.placed()
    assert api.post(f"executions/{execution}/stop/").json == {"message": "Stopped"}
    assert api.call(f"executions/{execution}/claim", {"attempt": attempt}).status_code == 409


def test_log_batches_are_stored_once_and_in_order(api: ApiServer) -> None:
    execution, _ = api.started()
    assert api.log(execution, b"one\ntwo\n", 0).json == {"acknowledged": 8}
    again = api.log(execution, b"one\ntwo\n", 0)
    assert (again.status_code, again.json) == (200, {"acknowledged": 8})
    for start, text in ((4, b"two\nthree\n"), (12, b"four\n"), (0, b"one\ntwo\nthree\n")):
        refused = api.log(execution, text, start)
        assert (refused.status_code, refused.json) == (409, {"acknowledged": 8})
    assert api.log(execution, b"three\n", 8).json == {"acknowledged": 14}
    assert said(api, execution, "stdout") == ["one", "two", "three"]


def test_spool_bytes_that_became_no_line_are_acknowledged_too(api: ApiServer) -> None:
    execution, _ = api.started()
    assert api.log(execution, b"", 0, end=100).json == {"acknowledged": 100}
    assert api.log(execution, b"next\n", 100).json == {"acknowledged": 105}
    assert said(api, execution, "stdout") == ["next"]


def test_streams_have_offsets_of_their_own_and_a_heartbeat_tells_them(api: ApiServer) -> None:
    execution, attempt = api.started()
    api.log(execution, b"out\n", 0)
    api.log(execution, b"error\n", 0, stream="stderr")
    orders = api.call(f"executions/{execution}/heartbeat", {"attempt": attempt}).json
    assert orders is not None
    assert orders["acknowledged"] == {"stdout": 4, "stderr": 6, "status": 0}
    assert (orders["stop"], orders["lease_s"] > 5) == ("", True)


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        (b"no newline", {}),
        (b"x\n", {"stream": "stdin"}),
        (b"x\n", {"start": 5, "end": 2}),
        (b"x\n", {"start": "-1"}),
        (b"x\n", {"end": ""}),
        (b"x\n", {"first_us": "9" * 25}),
        (b"x\n", {"attempt": "one"}),
    ],
)
def test_a_batch_that_cannot_be_is_refused_by_name(api: ApiServer, text: bytes, changed: dict[str, Any]) -> None:
    execution, _ = api.started()
    batch = {"attempt": 1, "stream": "stdout", "start": 0, "end": len(text), "first_us": 0, "last_us": 0} | changed
    headers = {"Authorization": "Token pm_runner_one"}
    path = f"/api/runner/executions/{execution}/log"
    answer = api.client.post(path, query_string=batch, data=text, headers=headers)
    assert answer.status_code == 400
    assert answer.json is not None
    assert answer.json["detail"]


def test_a_batch_of_eight_mebibytes_is_taken_and_a_larger_one_is_not(api: ApiServer) -> None:
    execution, _ = api.started()
    text = b"".join(b"%07d\n" % number for number in range(1024**2))
    assert api.log(execution, text, 0).status_code == 200
    assert api.log(execution, text + b"\n", len(text)).status_code == 413
    (stored,) = api.config.logs_dir.glob(f"*/{execution}.log")
    assert stored.read_bytes().endswith(b"\n" + text)


REPORTS: list[tuple[str, dict[str, Any]]] = [
    ("heartbeat", {}),
    ("container", {"container_id": "abc", "image_digest": None}),
    ("detail", {"status_detail": "almost"}),
    ("usage", {"samples": [[1, "cpu", 0.5]]}),
    ("final", {"state": "complete", "exit_code": 0}),
    ("claim", {"resume": True}),
]


@pytest.mark.parametrize(("verb", "body"), REPORTS)
def test_reports_of_another_runner_or_attempt_are_conflicts(api: ApiServer, verb: str, body: dict[str, Any]) -> None:
    execution, attempt = api.started()
    path = f"executions/{execution}/{verb}"
    before = api.execution(execution)
    assert api.call(path, body | {"attempt": attempt}, "two").status_code == 409
    assert api.call(path, body | {"attempt": attempt + 1}).status_code == 409
    assert api.call(path, body | {"attempt": attempt - 1}).status_code == 409
    assert api.execution(execution) == before
    assert api.call(path, body | {"attempt": attempt}).status_code == 200


def test_logs_and_outputs_of_another_runner_or_attempt_are_conflicts(api: ApiServer) -> None:
    execution, attempt = api.started()
    assert api.log(execution, b"x\n", 0, attempt, runner="two").status_code == 409
    assert api.log(execution, b"x\n", 0, attempt + 1).status_code == 409
    assert api.upload(execution, "a", b"x", runner="two").status_code == 409
    assert api.upload(execution, "a", b"x", attempt=attempt + 1).status_code == 409
    assert said(api, execution, "stdout") == []
    assert api.json(f"executions/{execution}/")["outputs"] == []


@pytest.mark.parametrize(("verb", "body"), [report for report in REPORTS if report[0] != "final"])
def test_nothing_is_reported_after_the_end(api: ApiServer, verb: str, body: dict[str, Any]) -> None:
    execution = api.finished()
    before = api.execution(execution)
    answer = api.call(f"executions/{execution}/{verb}", body | {"attempt": 1})
    assert (answer.status_code, api.log(execution, b"x\n", 0).status_code) == (409, 409)
    assert api.upload(execution, "a", b"x").status_code == 409
    assert api.execution(execution) == before


def test_a_container_is_reported_with_the_devices_that_it_got(api: ApiServer) -> None:
    execution, attempt = api.started()
    body = {"attempt": attempt, "container_id": "abc", "image_digest": None, "devices": ["GPU-b", "GPU-a"]}
    assert api.call(f"executions/{execution}/container", body).status_code == 200
    assert api.execution(execution).devices == ("GPU-b", "GPU-a")


@pytest.mark.parametrize(
    "samples",
    [
        "all",
        [[1, "cpu"]],
        [[1, "disk", 1]],
        [[1, "gpu:", 1]],
        [[1, "gpu:1000", 1]],
        [[1, "cpu\n", 1]],
        [[1, "cpu", "1"]],
        [[1, "cpu", -1]],
        [[1, "cpu", True]],
        [[1, "cpu", 1e300]],
        [[-1, "cpu", 1]],
        [[1.5, "cpu", 1]],
        [[2**60, "cpu", 1]],
        [[1, "cpu", 1]] * 501,
    ],
)
def test_usage_that_cannot_be_is_refused_by_name(api: ApiServer, samples: Any) -> None:
    execution, attempt = api.started()
    answer = api.call(f"executions/{execution}/usage", {"attempt": attempt, "samples": samples})
    assert (answer.status_code, usage.find_time_span(api.db, api.execution(execution).id)) == (400, None)
    assert answer.json is not None
    assert answer.json["detail"]


def test_usage_is_stored_once_and_never_after_its_arrival(api: ApiServer) -> None:
    execution, attempt = api.started()
    body = {"attempt": attempt, "samples": [[5, "cpu", 0.5], [5, "gpu_memory:0", 7], [2**52, "cpu", 1]]}
    for _ in range(2):
        assert api.call(f"executions/{execution}/usage", body).status_code == 200
    found = usage.find_time_span(api.db, api.execution(execution).id)
    assert found is not None
    assert (found[0], found[1] <= time.time_ns() // 1000) == (5, True)
    assert usage.count(api.db, api.execution(execution).id, "gpu_memory:0") == 1


def test_the_same_final_report_twice_is_fine_and_any_other_one_is_too_late(api: ApiServer) -> None:
    execution, attempt = api.started()
    failed = {
        "attempt": attempt, "state": "error", "failure_reason": "command_failed", "message": "no", "exit_code": 3
    }  # fmt: skip
    path = f"executions/{execution}/final"
    assert [api.call(path, failed).status_code for _ in range(2)] == [200, 200]
    for other in (
        {"attempt": attempt, "state": "complete"},
        {"attempt": attempt, "state": "stopped"},
        failed | {"failure_reason": "out_of_memory"},
        failed | {"exit_code": 4},
    ):
        assert api.call(path, other).status_code == 409
    found = api.json(f"executions/{execution}/")
    assert (found["status"], found["failure_reason"], found["failure_message"]) == ("error", "command_failed", "no")
    assert found["exit_code"] == 3


@pytest.mark.parametrize(
    "report",
    [
        {"state": "error"},
        {"state": "complete", "failure_reason": "image"},
        {"state": "started"},
        {"state": "crashed"},
        {"state": ["complete"]},
        {"state": "error", "failure_reason": "tired"},
        {"state": "complete", "exit_code": "0"},
        {"state": "complete", "exit_code": 10**30},
        {"state": "complete", "message": {"a": 1}},
        {},
    ],
)
def test_a_final_report_that_cannot_be_is_refused_and_changes_nothing(api: ApiServer, report: dict[str, Any]) -> None:
    execution, attempt = api.started()
    before = api.execution(execution)
    assert api.call(f"executions/{execution}/final", {"attempt": attempt} | report).status_code == 400
    assert api.execution(execution) == before


@pytest.mark.parametrize("body", ["[]", "{", "nul", '"x"', '{"attempt": true}', '{"attempt": "1"}', "[" * 5000])
def test_a_body_that_is_no_message_is_refused(api: ApiServer, body: str) -> None:
    execution, _ = api.started()
    headers = {"Authorization": "Token pm_runner_one"}
    for verb in ("claim", "heartbeat", "container", "detail", "final"):
        answer = api.client.post(f"/api/runner/executions/{execution}/{verb}", data=body, headers=headers)
        assert answer.status_code == 400, verb


@pytest.mark.parametrize(
    "body", [{"slots": 1}, {"slots": -1, "info": {}}, {"slots": "1", "info": {}}, {"slots": 1, "info": []}]
)
def test_a_heartbeat_that_says_too_little_is_refused(api: ApiServer, body: dict[str, Any]) -> None:
    assert api.call("heartbeat", body).status_code == 400


def test_a_stop_is_passed_on_and_the_second_one_kills(api: ApiServer) -> None:
    execution, attempt = api.started()

    def order() -> str:
        answer = api.call(f"executions/{execution}/heartbeat", {"attempt": attempt}).json
        assert answer is not None
        return str(answer["stop"])

    assert order() == ""
    assert api.post(f"executions/{execution}/stop/").json == {"message": "Stopping"}
    assert (order(), status_of(api, execution)) == ("stop", "stopping")
    assert api.post(f"executions/{execution}/stop/").json == {"message": "Killing"}
    assert order() == "kill"
    assert api.call(f"executions/{execution}/final", {"attempt": attempt, "state": "stopped"}).status_code == 200
    assert status_of(api, execution) == "stopped"
    assert api.post(f"executions/{execution}/stop/").json == {"message": "Already complete"}


def test_a_detail_and_a_container_are_kept(api: ApiServer) -> None:
    execution, attempt = api.started()
    api.call(f"executions/{execution}/detail", {"attempt": attempt, "status_detail": "almost there"})
    body = {"attempt": attempt, "container_id": "abc", "image_digest": "sha256:1"}
    api.call(f"executions/{execution}/container", body)
    assert api.json(f"executions/{execution}/")["status_detail"] == "almost there"
    found = api.execution(execution)
    assert (found.container_id, found.image_digest) == ("abc", "sha256:1")


def test_the_last_lines_come_with_the_final_report_and_are_stored_once(api: ApiServer) -> None:
    execution, attempt = api.started()
    assert api.log(execution, b"Uploaded 1 output\n", 0, stream="status").status_code == 200
    report = {"attempt": attempt, "state": "complete", "exit_code": 0}
    lines = "Uploaded 1 output\n", "Finished in 2.0 s: complete\n"
    end = sum(map(len, lines))
    for status in ([0, 18, 1, 2, lines[0]], [18, end, 1, 2, lines[1]]):  # of an attempt whose answer was lost
        assert api.call(f"executions/{execution}/final", report | {"status": status}).status_code == 200
    assert said(api, execution, "status")[-1] == "Uploaded 1 output"
    execution, attempt = api.started()
    report |= {"attempt": attempt, "status": [0, 28, 1, 2, lines[1]]}
    for _ in range(2):
        assert api.call(f"executions/{execution}/final", report).status_code == 200
    assert said(api, execution, "status").count("Finished in 2.0 s: complete") == 1
    assert said(api, execution, "status")[-1] == "Finished in 2.0 s: complete"


def test_a_runner_that_ends_one_execution_gets_the_next(api: ApiServer) -> None:
    assert api.call("heartbeat", {"slots": 1, "info": {}}).status_code == 200
    first, second = api.add_execution(), api.add_execution()
    dispatch(api.context, api.app.extensions["pushmill"].queues)
    assert api.execution(second.uuid).runner_id is None
    api.call(f"executions/{first.uuid}/claim", {"attempt": 1})
    api.call(f"executions/{first.uuid}/final", {"attempt": 1, "state": "complete"})
    assert api.execution(second.uuid).runner_id is not None


def test_an_execution_whose_runner_fell_silent_before_the_container_waits_again(api: ApiServer) -> None:
    execution, attempt = api.started()
    api.log(execution, b"old\n", 0, attempt, stream="status")
    expire(api, execution)
    lifecycle.recover(api.context)
    assert (api.execution(execution).state, api.execution(execution).runner_id) == (State.QUEUED, None)
    assert api.call(f"executions/{execution}/heartbeat", {"attempt": attempt}).status_code == 409
    dispatch(api.context, api.app.extensions["pushmill"].queues)
    assert api.execution(execution).runner_id is None, "placed on a runner that is silent"
    assert api.call("heartbeat", {"slots": 10, "info": {}}).status_code == 200
    body = {"attempt": attempt + 1}
    assert api.call(f"executions/{execution}/claim", body | {"attempt": attempt}).status_code == 409
    assert api.call(f"executions/{execution}/claim", body).status_code == 200
    assert api.log(execution, b"late\n", 4, attempt).status_code == 409


def test_an_execution_that_somebody_stopped_does_not_go_back_to_the_queue(api: ApiServer) -> None:
    execution, _ = api.started()
    api.post(f"executions/{execution}/stop/")
    expire(api, execution)
    lifecycle.recover(api.context)
    assert api.execution(execution).state is State.STOPPED


def silent_for(api: ApiServer, execution: str, seconds: float) -> None:
    expire(api, execution, clock.format_moment(datetime.now(UTC) - timedelta(seconds=seconds - lifecycle.LEASE_S)))


def with_container(api: ApiServer, **columns: Any) -> tuple[str, int]:
    """Add a started execution whose container runs."""
    execution, attempt = api.started()
    api.call(f"executions/{execution}/container", {"attempt": attempt, "container_id": "abc"})
    if columns:
        with transaction(api.db):
            executions.update(api.db, api.execution(execution), **columns)
    return execution, attempt


def outcome(api: ApiServer, execution: str) -> tuple[str, str | None]:
    found = api.json(f"executions/{execution}/")
    return found["status"], found["failure_reason"]


def test_a_container_without_contact_is_waited_for_until_the_configured_time(api: ApiServer) -> None:
    execution, attempt = with_container(api)
    silent_for(api, execution, SILENCE_S - 60)
    lifecycle.recover(api.context)
    assert outcome(api, execution) == ("started", None)
    assert api.call(f"executions/{execution}/heartbeat", {"attempt": attempt}).status_code == 200
    silent_for(api, execution, SILENCE_S + 1)
    lifecycle.recover(api.context)
    assert outcome(api, execution) == ("error", "runner_lost")
    late = {"attempt": attempt, "state": "error", "failure_reason": "command_failed", "exit_code": 1}
    assert api.call(f"executions/{execution}/final", late).status_code == 409
    assert api.log(execution, b"late\n", 0, attempt).status_code == 409


def test_one_that_is_stopped_while_it_is_out_of_contact_is_given_up_by_the_sweep(api: ApiServer) -> None:
    execution, _ = with_container(api)
    silent_for(api, execution, lifecycle.SILENT_S + 1)
    assert api.post(f"executions/{execution}/stop/").json == {"message": "Stopping"}
    assert outcome(api, execution) == ("stopping", None)  # its runner may return: the server may just have started
    lifecycle.recover(api.context)
    assert outcome(api, execution) == ("error", "runner_lost")


def test_one_that_was_stopped_and_then_falls_silent_is_given_up_after_a_minute(api: ApiServer) -> None:
    execution, _ = with_container(api)
    api.post(f"executions/{execution}/stop/")
    silent_for(api, execution, lifecycle.SILENT_S - 5)
    lifecycle.recover(api.context)
    assert outcome(api, execution) == ("stopping", None)
    silent_for(api, execution, lifecycle.SILENT_S + 1)
    lifecycle.recover(api.context)
    assert outcome(api, execution) == ("error", "runner_lost")


def test_a_runner_that_returns_without_a_container_of_its_loses_it_at_once(api: ApiServer) -> None:
    lost, kept = with_container(api)[0], with_container(api)[0]
    for execution in (lost, kept):
        silent_for(api, execution, 20)
    api.call("heartbeat", {"slots": 10, "info": {}, "executions": [kept]})
    assert outcome(api, lost) == ("error", "runner_lost")
    assert "Runner one came back without this execution" in said(api, lost, "status")
    assert outcome(api, kept) == ("started", None)


def test_a_server_that_was_down_lets_runners_return_before_it_gives_up_their_executions(
    api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    execution, _ = with_container(api)
    silent_for(api, execution, SILENCE_S + 1)
    sweeper = sweep.Sweeper(api.config, api.context.vault, api.app.extensions["pushmill"].queues)
    try:
        monkeypatch.setattr(sweep, "RETURN_S", 3600.0)  # on a busy machine a sweep may take long
        sweeper.sweep()
        assert outcome(api, execution) == ("started", None)
        monkeypatch.setattr(sweep, "RETURN_S", 0.0)
        sweeper.sweep()
        assert outcome(api, execution) == ("error", "runner_lost")
    finally:
        sweeper.close()


def test_what_a_runner_claimed_after_it_looked_is_not_taken_for_lost(api: ApiServer) -> None:
    execution, _ = api.started()
    api.call("heartbeat", {"slots": 10, "info": {}, "executions": []})
    assert outcome(api, execution) == ("started", None)


def test_a_lost_one_that_says_autorestart_is_run_again_once_as_a_new_execution(api: ApiServer) -> None:
    execution, _ = with_container(api, autorestart=True)
    silent_for(api, execution, lifecycle.SILENT_S + 1)
    lifecycle.recover(api.context)
    assert outcome(api, execution) == ("error", "runner_lost")
    for _ in range(2):
        reruns.restart_lost(api.context)
    before = api.execution(execution)
    (again,) = executions.list_reruns(api.db, before.id)
    assert (again.state, again.commands, again.inputs) == (State.CREATED, before.commands, before.inputs)
    assert (again.counter, again.retry_of, again.autorestart) == (before.counter + 1, before.id, True)
    assert f"Restarts #{before.counter}" in said(api, again.uuid, "status")


def test_a_lost_one_that_somebody_wanted_to_stop_is_not_run_again(api: ApiServer) -> None:
    execution, _ = with_container(api, autorestart=True)
    lifecycle.request_stop(api.context, execution, "ada")
    silent_for(api, execution, lifecycle.SILENT_S + 1)
    lifecycle.recover(api.context)
    assert outcome(api, execution) == ("error", "runner_lost")
    reruns.restart_lost(api.context)
    assert executions.list_reruns(api.db, api.execution(execution).id) == []


def test_a_chain_of_restarts_ends(api: ApiServer) -> None:
    execution = api.started()[0]
    with transaction(api.db):
        executions.update(api.db, api.execution(execution), autorestart=True, container_id="abc")
    for _ in range(reruns.MAX_RESTARTS + 3):
        for found in executions.list_in_states(api.db, State.STARTED, State.CREATED, State.QUEUED):
            with transaction(api.db):
                sql = (
                    "UPDATE execution SET state = 'error', failure_reason = 'runner_lost', ended_at = 'x' WHERE id = ?"
                )
                execute(api.db, sql, (found.id,))
        reruns.restart_lost(api.context)
    _, count = executions.search(api.db, Selection())
    assert count == 1 + reruns.MAX_RESTARTS


def test_a_runner_that_comes_back_during_the_look_at_leases_keeps_its_execution(api: ApiServer) -> None:
    """The sweep reads first and acts later; what it acts on is what is true then."""
    execution, attempt = api.started()
    expire(api, execution)
    stale = executions.list_in_states(api.db, State.STARTED)
    api.call(f"executions/{execution}/container", {"attempt": attempt, "container_id": "abc"})
    api.call(f"executions/{execution}/heartbeat", {"attempt": attempt})
    with transaction(api.db):
        lifecycle._recover(api.context, executions.get(api.db, stale[0].id))
    assert api.execution(execution).state is State.STARTED


def test_what_changes_is_published_and_a_lease_heartbeat_is_not(api: ApiServer) -> None:
    announcer = api.app.extensions["pushmill"].announcer
    execution, attempt = api.started()

    told: list[str | None] = []
    announcer.subscribe(told.append)

    def published(call: Any) -> bool:
        told.clear()
        call()
        return bool(told)

    assert published(lambda: api.log(execution, b"x\n", 0))
    assert published(lambda: api.upload(execution, "a", b"x"))
    assert published(lambda: api.call(f"executions/{execution}/detail", {"attempt": attempt, "status_detail": "x"}))
    assert published(lambda: api.post(f"executions/{execution}/stop/"))
    assert not published(lambda: api.call(f"executions/{execution}/heartbeat", {"attempt": attempt}))
    assert published(lambda: api.call(f"executions/{execution}/final", {"attempt": attempt, "state": "stopped"}))


def test_a_person_is_no_runner_and_a_runner_no_person(api: ApiServer) -> None:
    execution, attempt = api.placed()
    path = f"/api/runner/executions/{execution}/claim"
    for headers in ({}, api.as_admin, {"Authorization": "Token x"}):
        assert api.client.post(path, json={"attempt": attempt}, headers=headers).status_code == 401
    answer = api.client.get("/api/v0/executions/", headers={"Authorization": "Token pm_runner_one"})
    assert answer.status_code == 401


def test_an_execution_that_nobody_knows_is_not_found(api: ApiServer) -> None:
    for verb, body in REPORTS:
        assert api.call(f"executions/{uuid.uuid4()}/{verb}", body | {"attempt": 1}).status_code == 404


def test_the_unfinished_lines_of_a_runner_that_is_lost_are_kept(api: ApiServer) -> None:
    execution, attempt = with_container(api)
    api.log(execution, b"whole\n", 0, attempt)
    for stream, start, text in (("stdout", 6, "half\nof"), ("stderr", 0, "x" * 10_000)):
        body = {"attempt": attempt, "stream": stream, "start": start, "text": text}
        assert api.call(f"executions/{execution}/preview", body).status_code == 200
    lifecycle.lose(api.context, api.execution(execution), "it is gone")
    assert said(api, execution, "stdout") == ["whole", "half of"]
    assert said(api, execution, "stderr") == ["x" * 4096]
    assert said(api, execution)[-1] == "it is gone"


@pytest.mark.parametrize("more", [{"stream": "x"}, {"stream": 1}, {"start": -1}, {"text": None}, {"attempt": "1"}])
def test_a_preview_of_anything_else_is_refused(api: ApiServer, more: dict[str, Any]) -> None:
    execution, attempt = api.started()
    body = {"attempt": attempt, "stream": "stdout", "start": 0, "text": "a"} | more
    assert api.call(f"executions/{execution}/preview", body).status_code == 400
    wrong = {"attempt": attempt + 1, "stream": "stdout", "start": 0, "text": "a"}
    assert api.call(f"executions/{execution}/preview", wrong).status_code == 409


def test_what_a_runner_leaves_out_of_a_log_is_said_at_its_place(api: ApiServer) -> None:
    execution, attempt = api.started()
    assert api.log(execution, b"first\n", 0, attempt).status_code == 200
    assert api.log(execution, b"gap\n", 5006, attempt).status_code == 409
    assert api.log(execution, b"gap\n", 5006, attempt, skipped=5001).status_code == 409
    assert api.log(execution, b'{"a": 1}\n', 5006, attempt, skipped=5000).status_code == 200
    assert api.log(execution, b'{"a": 1}\n', 5006, attempt, skipped=5000).status_code == 200  # once more
    assert api.log(execution, b"", 5015, attempt, skipped=6000).status_code == 400
    text = "4.88 KiB of stdout omitted: it was printed faster than it could be sent ([limits] log)"
    assert said(api, execution)[-3:] == ["first", text, '{"a": 1}']


def test_a_stream_past_its_limit_keeps_its_metadata(tmp_path: Path) -> None:
    api = ApiServer(tmp_path / "data", limits={"log": 2000})
    execution, attempt = api.started()
    printed = [b'{"step": %d}\n' % number for number in range(1000)]
    offset = 0
    for line in printed:
        assert api.log(execution, line, offset, attempt).status_code == 200
        offset += len(line)
    lines = said(api, execution, limit=0)
    assert lines[2] == '{"step": 0}'
    assert lines[-1] == '{"step": 999}'
    assert sum(line.endswith("the newest part of a stream ([limits] log)") for line in lines) == 1
    assert len(lines) < 200
    steps = api.json(f"executions/{execution}/metadata/")
    assert [point["step"] for point in steps] == list(range(1000))
    api.close()


def test_an_unfinished_line_whose_end_never_came_is_kept_when_the_execution_ends(api: ApiServer) -> None:
    execution, attempt = api.started()
    body = {"attempt": attempt, "stream": "stdout", "start": 0, "text": "half"}
    assert api.call(f"executions/{execution}/preview", body).status_code == 200
    assert api.call(f"executions/{execution}/final", {"attempt": attempt, "state": "complete"}).status_code == 200
    assert said(api, execution, "stdout") == ["half"]


def test_the_stages_of_an_execution_are_stored_as_its_runner_reports_them(api: ApiServer) -> None:
    execution, attempt = api.started()
    body = {"attempt": attempt, "container_id": "abc", "stage_s": {"pull": 2.5, "checkout": 0.25, "tea": 9}}
    for _ in range(2):
        assert api.call(f"executions/{execution}/container", body).status_code == 200
    first = api.execution(execution).stages
    assert first == {"pull": 2.5, "checkout": 0.25, "run_at": first["run_at"]}
    assert api.call(f"executions/{execution}/container", body | {"stage_s": {"pull": -1}}).status_code == 400
    final = {"attempt": attempt, "state": "complete", "upload_s": 1.5}
    assert api.call(f"executions/{execution}/final", final | {"upload_s": "x"}).status_code == 400
    assert api.call(f"executions/{execution}/final", final).status_code == 200
    assert api.execution(execution).stages == {**first, "upload": 1.5}
