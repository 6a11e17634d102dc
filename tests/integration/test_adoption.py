"""Containers outlive the runner processes that hold them, and the next process adopts them."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import replace

import pytest
from runner_host import docker, empty_image, execute, execution, keeper_process, take_up, until
from runner_server import Recorded, RunnerServer

from runner import jobs
from runner.host import Host
from runner.state_dir import write_json

pytestmark = pytest.mark.docker

COUNT = "for i in $(seq 60); do echo line $i; echo error $i >&2; sleep 0.05; done; echo result >/valohai/outputs/r"


def kill_at_request(server: RunnerServer, host: Host, recorded: Recorded, part: str) -> None:
    """Start an execution, and kill its keeper when it requests a path that contains `part`, which is refused."""
    requested = threading.Event()

    def refuse(path: str) -> int | None:
        if part not in path:
            return None
        requested.set()
        return 503

    server.before = refuse
    with keeper_process(host, recorded.spec.uuid):
        assert requested.wait(30)
    server.before = lambda path: None


def refuse_uploads_until_a_second_heartbeat(server: RunnerServer) -> None:
    answered: list[str] = []

    def refuse(path: str) -> int | None:
        answered.append(path)
        known = sum(one.endswith("heartbeat") for one in answered) > 1
        return None if known or "/outputs" not in path else 503

    server.before = refuse


def test_a_killed_keeper_and_its_heir_lose_and_double_no_line(server: RunnerServer, host: Host) -> None:
    recorded = server.add(execution("echo one", COUNT, "echo three"))
    with keeper_process(host, recorded.spec.uuid):
        until(lambda: len(recorded.lines()) > 15)
    assert recorded.final == {}
    take_up(host)
    assert recorded.lines() == ["one", *(f"line {i}" for i in range(1, 61)), "three"]
    assert recorded.lines("stderr") == [f"error {i}" for i in range(1, 61)]
    status = recorded.lines("status")
    assert [line for line in status if line.startswith("Command 2")] == [f"Command 2 of 3: {COUNT}"]
    assert "Runner tester resumed it" in status
    assert recorded.final["state"] == "complete"
    assert recorded.outputs == {"r": b"result\n"}
    assert list(host.executions.iterdir()) == []
    assert host.engine.managed(host.runner_id) == []


def test_a_container_that_ended_without_a_keeper_is_reported_with_its_own_exit_code(
    server: RunnerServer, host: Host
) -> None:
    recorded = server.add(execution("echo up", "sleep 1; exit 9"))
    with keeper_process(host, recorded.spec.uuid):
        until(lambda: recorded.lines() == ["up"])
    docker("wait", recorded.container["container_id"])
    take_up(host)
    assert recorded.final["exit_code"] == 9
    assert recorded.final["failure_reason"] == "command_failed"


def test_lines_found_after_a_gap_are_dated_within_it(server: RunnerServer, host: Host) -> None:
    recorded = server.add(execution("echo up; sleep 1; echo later"))
    with keeper_process(host, recorded.spec.uuid):
        until(lambda: recorded.lines() == ["up"])
    docker("wait", recorded.container["container_id"])
    ended_us = recorded.batches[-1].last_us + 2_500_000
    until(lambda: time.time() * 1e6 > ended_us + 1_000_000)
    take_up(host)
    later = next(batch for batch in recorded.batches if batch.stream == "stdout" and batch.start > 0)
    assert later.last_us < ended_us


def test_a_container_whose_lease_was_given_away_is_killed(server: RunnerServer, host: Host) -> None:
    recorded = server.add(execution("echo up; sleep 100"))
    with keeper_process(host, recorded.spec.uuid):
        until(lambda: recorded.lines() == ["up"])
    recorded.given_away = True
    take_up(host)
    assert host.engine.managed(host.runner_id) == []
    assert list(host.executions.iterdir()) == []


def test_a_container_removed_by_somebody_is_interrupted(server: RunnerServer, host: Host) -> None:
    recorded = server.add(execution("echo up; sleep 100"))
    with keeper_process(host, recorded.spec.uuid):
        until(lambda: recorded.lines() == ["up"])
    docker("rm", "--force", "--volumes", recorded.container["container_id"])
    take_up(host)
    assert recorded.final["failure_reason"] == "interrupted"


def test_an_execution_whose_keeper_died_before_its_container_is_run_from_the_top(
    server: RunnerServer, host: Host
) -> None:
    recorded = server.add(execution("echo done"))
    kill_at_request(server, host, recorded, "/container")
    take_up(host)
    assert recorded.lines() == ["done"]
    assert recorded.final["state"] == "complete"
    assert recorded.container["container_id"], "the server would queue it again although its container runs"


def test_a_container_that_could_not_start_is_not_adopted_after_its_removal(server: RunnerServer, host: Host) -> None:
    with empty_image() as image:
        recorded = server.add(execution("true", image=image))
        kill_at_request(server, host, recorded, "/final")
        take_up(host)
    assert recorded.final["failure_reason"] == "image"


def test_one_that_is_given_away_between_its_adoption_and_its_heartbeat_leaves_nothing(
    server: RunnerServer, host: Host
) -> None:
    recorded = server.add(execution("echo up; sleep 100"))
    with keeper_process(host, recorded.spec.uuid):
        until(lambda: recorded.lines() == ["up"])
    server.before = lambda path: 409 if path.endswith("/heartbeat") else None
    take_up(host)
    assert host.engine.managed(host.runner_id) == []
    assert list(host.executions.iterdir()) == []


def test_a_full_disk_does_not_keep_a_container_from_being_adopted(server: RunnerServer, host: Host) -> None:
    recorded = server.add(execution("echo up; while [ ! -e /valohai/outputs/go ]; do sleep 0.05; done"))
    directory = host.executions / recorded.spec.uuid
    with keeper_process(host, recorded.spec.uuid):
        until(lambda: recorded.lines() == ["up"])
    (directory / "outputs" / "go").touch()
    (directory / f".relay.json.{os.getpid()}").mkdir()  # like a full disk: the file cannot be written
    take_up(host)
    assert recorded.final["state"] == "complete"


def test_an_heir_masks_what_was_secret_when_the_container_started(server: RunnerServer, host: Host) -> None:
    values = {"TOKEN": "the-first-token"}
    recorded = server.add(
        execution(
            "echo first $TOKEN; while [ ! -e /valohai/outputs/go ]; do sleep 0.05; done; echo then $TOKEN",
            environment_variables=values,
            secrets=["TOKEN"],
        )
    )
    kept = host.executions / recorded.spec.uuid
    with keeper_process(host, recorded.spec.uuid):
        until(lambda: recorded.lines() == ["first ***"])
    assert (kept / "secrets.json").stat().st_mode & 0o777 == 0o600
    assert kept.stat().st_mode & 0o777 == 0o700
    recorded.spec = replace(recorded.spec, environment_variables={"TOKEN": "another-token"})
    (kept / "outputs" / "go").touch()
    take_up(host)
    assert recorded.lines() == ["first ***", "then ***"]
    assert recorded.final["state"] == "complete"


def test_a_kept_execution_is_left_to_its_keeper(server: RunnerServer, host: Host) -> None:
    recorded = server.add(execution("echo up; while [ ! -e /valohai/outputs/go ]; do sleep 0.05; done"))
    with keeper_process(host, recorded.spec.uuid) as keeper:
        until(lambda: recorded.lines() == ["up"])
        take_up(host)
        assert recorded.final == {}
        (host.executions / recorded.spec.uuid / "outputs" / "go").touch()
        assert keeper.wait(30) == 0
    assert recorded.final["state"] == "complete"


def test_a_directory_of_which_nothing_can_be_taken_up_is_removed(server: RunnerServer, host: Host) -> None:
    (host.executions / "stale").mkdir(parents=True)
    write_json(host.executions / "stale" / "state.json", {"attempt": 1, "claimed_at": 0})
    take_up(host)
    assert list(host.executions.iterdir()) == []


def test_one_that_was_told_to_stop_is_stopped_though_its_keeper_died_before_its_end(
    server: RunnerServer, host: Host
) -> None:
    recorded = server.add(execution("echo up; sleep 100"))
    with keeper_process(host, recorded.spec.uuid):
        until(lambda: recorded.lines() == ["up"])
        server.before = lambda path: 503 if path.endswith(("log", "final")) else None
        recorded.stop = "stop"
        docker("wait", recorded.container["container_id"])
    server.before = lambda path: None
    take_up(host)
    assert recorded.final["state"] == "stopped"


def test_outputs_of_one_that_was_told_to_stop_are_kept_though_its_keeper_died(server: RunnerServer, host: Host) -> None:
    """The next keeper learns from the server what it knows already, and takes that for no second stop."""
    command = "trap 'echo bye >/valohai/outputs/last' TERM; echo up; sleep 100 & wait"
    recorded = server.add(execution(command))
    with keeper_process(host, recorded.spec.uuid):
        until(lambda: recorded.lines() == ["up"])
        server.before = lambda path: 503 if path.endswith("final") or "/outputs" in path else None
        recorded.stop = "stop"
        docker("wait", recorded.container["container_id"])
    refuse_uploads_until_a_second_heartbeat(server)
    take_up(host)
    assert recorded.final["state"] == "stopped"
    assert recorded.outputs == {"last": b"bye\n"}


def test_outputs_of_one_that_was_stopped_after_its_end_without_a_keeper_are_kept(
    server: RunnerServer, host: Host
) -> None:
    recorded = server.add(execution("echo bye >/valohai/outputs/last"))
    kill_at_request(server, host, recorded, "/outputs/")
    recorded.stop = "stop"
    refuse_uploads_until_a_second_heartbeat(server)
    take_up(host)
    assert recorded.final["state"] == "complete"
    assert recorded.outputs == {"last": b"bye\n"}


def test_a_dead_keeper_does_not_prolong_the_grace(server: RunnerServer, host: Host) -> None:
    recorded = server.add(execution("trap '' TERM; echo up; while :; do sleep 1; done", stop_grace_s=1.0))
    with keeper_process(host, recorded.spec.uuid):
        until(lambda: recorded.lines() == ["up"])
        recorded.stop = "stop"
        until(lambda: any("grace" in line for line in recorded.lines("status")))
    take_up(host)
    assert recorded.final["state"] == "stopped"
    assert [line for line in recorded.lines("status") if "grace" in line] == ["Stopping: SIGTERM, 1 s grace"]


def test_the_second_job_of_an_execution_whose_slot_was_killed_goes_on_with_its_container(
    server: RunnerServer, host: Host
) -> None:
    recorded = server.add(execution(COUNT))
    with keeper_process(host, recorded.spec.uuid):
        until(lambda: len(recorded.lines()) > 5)
    jobs.bind(host)
    jobs.execute(recorded.spec.uuid, 1)
    assert recorded.lines() == [f"line {i}" for i in range(1, 61)]
    assert recorded.final["state"] == "complete"
    assert list(host.executions.iterdir()) == []


def test_a_claim_whose_answer_was_lost_is_still_ours(server: RunnerServer, host: Host) -> None:
    recorded = server.add(execution("echo hello"))

    def lose_the_answer(path: str) -> int | None:
        if recorded.claimed or not path.endswith("/claim"):
            return None
        recorded.claimed = True
        return 503

    server.before = lose_the_answer
    execute(host, recorded.spec.uuid, 1)
    assert recorded.lines() == ["hello"]
    assert recorded.final["state"] == "complete"
