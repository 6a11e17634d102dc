"""What heartbeats of idle runners cost: reports that change nothing are written together, and read little."""

from __future__ import annotations

import pytest
from api_server import ApiServer
from flask import request, request_started
from instance import wait_for

from core.model import Runner
from core.states import State
from web.services import reruns
from web.services.executions import lifecycle
from web.services.runners import heartbeats
from web.services.scheduling import dispatch
from web.store import executions, runners
from web.store.db import execute
from web.store.runners import Seen


def report(api: ApiServer, load: float, name: str = "one") -> None:
    assert api.call("heartbeat", {"slots": 2, "info": {"version": "1", "load": load}}, name).status_code == 200


def runner(api: ApiServer, name: str = "one") -> Runner:
    found = runners.find_by_name(api.db, name)
    assert found is not None
    return found


def test_reports_that_change_nothing_are_written_together_and_soon(
    api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeats, "WRITE_S", 0.05)
    for name in ("one", "two"):
        report(api, 0.5, name)
    before = runner(api), runner(api, "two")
    for load in (1.5, 2.5):
        for name in ("one", "two"):
            report(api, load, name)
    wait_for(lambda: [runner(api, name).info["load"] for name in ("one", "two")] == [2.5, 2.5], 30)
    assert (runner(api).last_seen_at or "") > (before[0].last_seen_at or "")
    report(api, 3.5)  # the thread may have ended meanwhile
    wait_for(lambda: runner(api).info["load"] == 3.5, 30)


def test_a_report_that_changes_something_is_written_at_once(api: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeats, "WRITE_S", 1000)
    report(api, 0.5)
    report(api, 1.5)
    assert runner(api).info["load"] == 0.5
    assert api.call("heartbeat", {"slots": 3, "info": {"version": "1", "load": 2.5}}).status_code == 200
    assert (runner(api).slots, runner(api).info["load"]) == (3, 2.5)
    runners.presume_silent(api.db, runner(api).id, 1000)
    assert not dispatch.is_online(runner(api))
    report(api, 3.5)
    assert dispatch.is_online(runner(api))


def test_heartbeats_are_due_less_often_when_there_are_more_runners(
    api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeats, "WRITE_S", 0.5)

    def due_s() -> float:
        return float(api.call("heartbeat", {"slots": 2, "info": {"version": "1"}}).json["heartbeat_s"])  # type: ignore[index]

    assert due_s() == 5.0
    more = [runners.add(api.db, f"more{number}", f"token{number}", ["default"]) for number in range(100)]
    wait_for(lambda: due_s() == len(runners.list_runners(api.db)) / 10, 30)
    for runner_id in more:
        runners.remove(api.db, runner_id)
    wait_for(lambda: due_s() == 5.0, 30)


def test_a_removed_runner_and_a_replaced_token_are_refused_at_once(api: ApiServer) -> None:
    report(api, 0.5)
    report(api, 0.5, "two")
    runners.set_token(api.db, runner(api).id, "another")
    runners.remove(api.db, runner(api, "two").id)
    for name in ("one", "two"):
        assert api.call("heartbeat", {"slots": 2, "info": {}}, name).status_code == 401


def test_valid_heartbeats_are_answered_before_flask_and_others_get_its_errors(api: ApiServer) -> None:
    requests = list[str]()

    def note(_: object, **__: object) -> None:
        requests.append(request.path)

    with request_started.connected_to(note, api.app):
        report(api, 0.5)
        assert requests == []
        statuses = [
            api.call("heartbeat", body).status_code for body in ({"slots": -1, "info": {}}, {"slots": "2"}, [], "x")
        ]
        statuses.append(api.client.post("/api/runner/heartbeat", json={"slots": 2, "info": {}}).status_code)
        statuses.append(api.client.get("/api/runner/heartbeat").status_code)
    assert statuses == [400, 400, 400, 400, 401, 405]
    assert len(requests) == len(statuses)


def test_a_late_report_does_not_replace_what_was_recorded_meanwhile(api: ApiServer) -> None:
    report(api, 0.5)
    found = runner(api)
    late = Seen(found.id, found.last_seen_at or "", found.last_seen_at or "", {"version": "old"})
    runners.presume_silent(api.db, found.id, 1000)
    runners.record_seen(api.db, [late])
    assert not dispatch.is_online(runner(api))
    execute(api.db, "UPDATE runner SET last_seen_at = NULL WHERE id = ?", (found.id,))  # registered again
    runners.record_seen(api.db, [late])
    assert (runner(api).last_seen_at, runner(api).info["version"]) == (None, "1")


def test_what_runs_often_does_not_read_finished_executions(api: ApiServer) -> None:
    api.started()
    queues, said = api.app.extensions["pushmill"].queues, list[str]()
    api.db.conn.set_trace_callback(said.append)
    dispatch.dispatch(api.context, queues)
    dispatch.hand_over_again(api.db, queues)
    lifecycle.recover(api.context)
    lifecycle.reconcile_runner(api.context, runner(api), [])
    reruns.restart_lost(api.context)
    runners.holds_executions(api.db, runner(api).id)
    executions.unplace(api.db, runner(api).id)
    executions.list_first_in_state(api.db, None, State.QUEUED, 5)
    api.db.conn.set_trace_callback(None)
    for statement in said:
        if statement.startswith(("SELECT", "UPDATE")):
            plan = [step[3] for step in api.db.conn.execute(f"EXPLAIN QUERY PLAN {statement}")]
            read = [step for step in plan if step.startswith("SCAN execution") and "execution_lost" not in step]
            assert not read, f"{statement} reads all executions"
