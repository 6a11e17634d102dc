"""What survives kill -9, a restart and other runners on the same machine."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil
import pytest
from instance import Checkout, Instance, running, wait_for
from test_push import step

pytestmark = [pytest.mark.docker, pytest.mark.redis]

COUNT = "for i in $(seq 1 80); do echo line $i; sleep 0.1; done"


def family(instance: Instance) -> list[psutil.Process]:
    assert instance.process is not None
    return psutil.Process(instance.process.pid).children(recursive=True)


def started_printing(instance: Instance, project: str) -> str:
    execution = wait_for(lambda: instance.executions(project))[0]
    wait_for(lambda: "line 5" in instance.events(execution["id"], "stdout"))
    return str(execution["id"])


def test_killing_every_process_but_the_supervisor_loses_and_doubles_no_line(
    server: Instance, checkout: Checkout
) -> None:
    checkout.commit({"valohai.yaml": step("count", COUNT)})
    checkout.push(server.git_url("killed"))
    execution = started_printing(server, "killed")
    for process in family(server):
        try:
            process.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue
    wait_for(server._serves, 30)
    final = server.wait_final(execution)
    assert final["status"] == "complete"
    assert server.events(execution, "stdout") == [f"line {i}" for i in range(1, 81)]


def test_a_restart_keeps_everything_and_adopts_what_runs(tmp_path: Path, checkout: Checkout) -> None:
    with running(tmp_path / "data") as instance:
        checkout.commit({"valohai.yaml": step("count", COUNT)})
        checkout.push(instance.git_url("restarted"))
        execution = started_printing(instance, "restarted")
        token = instance.token
        assert instance.stop() == 0
        assert "keep" in (instance.data / "up.out").read_text()
        instance.start()
        assert instance.token == token
        assert instance.wait_final(execution)["status"] == "complete"
        assert instance.events(execution, "stdout") == [f"line {i}" for i in range(1, 81)]


def test_two_instances_run_side_by_side_on_one_docker(server: Instance, tmp_path: Path, checkout: Checkout) -> None:
    with running(tmp_path / "other") as other:
        checkout.commit({"valohai.yaml": step("hello", "echo hello")})
        checkout.push(server.git_url("beside"))
        checkout.push(other.git_url("beside"))
        for instance in (server, other):
            execution = instance.run("beside", "hello")
            assert instance.events(execution["id"], "stdout") == ["hello"]


def test_the_admin_token_and_the_data_directory_are_for_their_owner_only(server: Instance) -> None:
    assert os.stat(server.data / "admin-token").st_mode & 0o777 == 0o600
    assert os.stat(server.data).st_mode & 0o777 == 0o700
    assert os.stat(server.data / "pushmill.db").st_mode & 0o077 == 0


def test_jobs_never_time_out_and_nothing_in_redis_is_pickled(server: Instance, checkout: Checkout) -> None:
    from redis import Redis

    connection = Redis.from_url((server.data / "redis" / "url").read_text().strip())
    checkout.commit({"valohai.yaml": step("nap", "sleep 3")})
    checkout.push(server.git_url("queued"))
    execution = wait_for(lambda: server.executions("queued"))[0]

    def job() -> dict[bytes, bytes] | None:
        keys = connection.keys(f"rq:job:*{execution['id']}*")
        return connection.hgetall(keys[0]) if keys else None

    found = wait_for(job)
    assert found[b"timeout"] == b"-1"
    assert b"\x80\x04" not in b"".join(found.values())
    connection.close()
    server.wait_final(execution["id"])
