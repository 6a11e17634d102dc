"""A slot's commands to Redis, its rights there, and its behaviour while Redis is unavailable."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from instance import free_port
from redis import Redis
from redis_site import certificate
from rq import Queue
from runner_host import COMMIT, NETWORK, docker, execution, until
from runner_server import RunnerServer

from core.config import RedisConfig
from web.processes.private_redis import EmbeddedRedis, find_binary
from web.services.runners import redis_users
from web.services.scheduling.queues import Queues
from web.store.users import hash_secret

pytestmark = [pytest.mark.docker, pytest.mark.redis]

PASSWORD = "pm_password_of_tester"
BACK_S = 15.0  # a slot asks again every second; the machine may be busy


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def listening(files: tuple[str, str]) -> RedisConfig:
    cert, key = files
    return RedisConfig(listen=f"127.0.0.1:{free_port()}", cert=cert, key=key)


@pytest.fixture
def redis(tmp_path: Path, listening: RedisConfig) -> Iterator[EmbeddedRedis]:
    embedded = EmbeddedRedis(tmp_path / "redis", find_binary(), listening)
    embedded.start(os.environ)
    yield embedded
    with contextlib.suppress(ProcessLookupError):
        os.kill(embedded.pid, signal.SIGCONT)
    embedded.stop(5.0)


@pytest.fixture
def admin(redis: EmbeddedRedis) -> Iterator[Redis]:
    with Redis.from_url(redis.url) as admin:
        redis_users.grant(admin, "tester", hash_secret(PASSWORD))
        yield admin


@pytest.fixture
def data(tmp_path: Path, server: RunnerServer, listening: RedisConfig, admin: Redis) -> Iterator[Path]:
    """A machine that is only a runner, with one slot, which reaches Redis over TLS as the user of that runner."""
    data = tmp_path / "machine"
    (data / "runner" / "cache" / "trees" / "demo" / COMMIT).mkdir(parents=True)
    url = f"rediss://runner-tester:{PASSWORD}@{listening.listen}/0?ssl_ca_certs={listening.cert}"
    (data / "config.toml").write_text(
        f'[runner]\nname = "tester"\nserver = "{server.url}"\ntoken = "secret"\nslots = 1\nnetwork = "{NETWORK}"\n'
        f'shm = "64 MiB"\n[redis]\nurl = "{url}"\n'
    )
    (data / "runner" / "id").write_text(runner_id := f"test-{uuid.uuid4()}")
    yield data
    for found in docker("ps", "--all", "--quiet", "--filter", f"label=pushmill.runner={runner_id}").split():
        docker("rm", "--force", "--volumes", found)


@contextlib.contextmanager
def runner(data: Path) -> Iterator[psutil.Popen]:
    program = "from runner.cli import command; command()"
    with open(data / "log", "ab") as log:
        process = psutil.Popen([sys.executable, "-c", program, "--data", str(data)], stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 0


def said(data: Path) -> str:
    return (data / "log").read_text()


def waits(admin: Redis) -> bool:
    """A slot reads the queue."""
    return admin.info("clients")["blocked_clients"] == 1


def runs_one(server: RunnerServer, admin: Redis) -> None:
    """Hand over an execution, which is claimed and ends."""
    recorded = server.add(execution("true"))
    Queues(admin).hand_over("tester", recorded.spec.uuid, 1)
    until(lambda: recorded.claimed, BACK_S)
    until(lambda: recorded.final)


def test_a_slot_runs_jobs_over_tls_with_the_rights_of_its_runners_user(
    server: RunnerServer, data: Path, admin: Redis
) -> None:
    """MONITOR shows every command of the user; the ACL's log would show every one that was refused."""
    recorded = server.add(execution("echo over tls"))
    commands: set[str] = set()
    with admin.monitor() as monitor, runner(data):
        Queues(Redis.from_url(_url(admin))).hand_over("tester", recorded.spec.uuid, 1)
        until(lambda: recorded.final)
        until(lambda: not admin.keys("rq:job:*"))
        admin.echo("end")
        for line in monitor.listen():
            if line["command"].startswith("ECHO"):
                break
            if line["client_type"] != "unix":
                commands.add(line["command"].split(" ")[0].lower())
    assert recorded.lines() == ["over tls"]
    assert commands - {"hello", "auth", "multi", "exec"} <= {name.split("|")[0] for name in redis_users.COMMANDS}
    assert {"blpop", "hgetall", "del"} <= commands
    assert admin.acl_log() == []
    assert admin.keys("*") in ([], [b"rq:queues"])  # a slot that is killed leaves nothing behind
    assert "Redis is unavailable" not in said(data)


def test_a_slot_waits_in_place_for_a_redis_that_was_killed(
    server: RunnerServer, data: Path, redis: EmbeddedRedis, admin: Redis
) -> None:
    with runner(data):
        until(lambda: waits(admin))
        os.kill(redis.pid, signal.SIGKILL)
        until(lambda: "Redis is unavailable" in said(data))
        recorded = server.add(execution("true"))
        until(lambda: redis.tend(os.environ))
        redis_users.grant(admin, "tester", hash_secret(PASSWORD))
        Queues(admin).hand_over("tester", recorded.spec.uuid, 1)
        until(lambda: recorded.claimed, BACK_S)
        until(lambda: "Redis is back" in said(data))
        assert "a slot ended" not in said(data)
        assert said(data).count("Redis is unavailable") == 1
        assert "Traceback" not in said(data)


def test_a_slot_notices_within_seconds_that_redis_answers_no_more(
    server: RunnerServer, data: Path, redis: EmbeddedRedis, admin: Redis
) -> None:
    with runner(data):
        until(lambda: waits(admin))
        os.kill(redis.pid, signal.SIGSTOP)
        until(lambda: "Redis is unavailable" in said(data))
        os.kill(redis.pid, signal.SIGCONT)
        until(lambda: waits(admin))
        runs_one(server, admin)
        assert "a slot ended" not in said(data)
        assert "Traceback" not in said(data)


def test_a_slot_that_starts_without_redis_waits_for_it(
    server: RunnerServer, data: Path, redis: EmbeddedRedis, admin: Redis
) -> None:
    redis.stop(5.0)
    with runner(data):
        until(lambda: "Redis is unavailable" in said(data))
        redis.start(os.environ)
        redis_users.grant(admin, "tester", hash_secret(PASSWORD))
        until(lambda: waits(admin), BACK_S)
        runs_one(server, admin)
        assert "a slot ended" not in said(data)


def test_a_password_that_was_replaced_is_said_and_the_slot_goes_on_when_it_is_right_again(
    server: RunnerServer, data: Path, admin: Redis
) -> None:
    with runner(data):
        until(lambda: waits(admin))
        redis_users.grant(admin, "tester", hash_secret("another"))
        until(lambda: re.search(r"Redis refuses this runner: .+ \[redis\] url", said(data)))
        redis_users.grant(admin, "tester", hash_secret(PASSWORD))
        until(lambda: waits(admin), BACK_S)
        runs_one(server, admin)


def test_a_right_that_is_missing_is_said_in_one_line(server: RunnerServer, data: Path, admin: Redis) -> None:
    with runner(data):
        until(lambda: waits(admin))
        admin.execute_command("ACL", "SETUSER", "runner-tester", "-blpop")
        admin.execute_command("CLIENT", "KILL", "USER", "runner-tester")
        until(lambda: "BLPOP" in said(data).upper() and "PERMISSION" in said(data).upper())
        redis_users.grant(admin, "tester", hash_secret(PASSWORD))
        until(lambda: waits(admin), BACK_S)
    assert "Traceback" not in said(data)


def test_redis_may_go_and_come_while_an_execution_runs(
    server: RunnerServer, data: Path, redis: EmbeddedRedis, admin: Redis
) -> None:
    recorded = server.add(execution("echo up; while [ ! -e /valohai/outputs/go ]; do sleep 0.05; done; echo down"))
    with runner(data):
        until(lambda: waits(admin))
        Queues(admin).hand_over("tester", recorded.spec.uuid, 1)
        until(lambda: recorded.lines() == ["up"])
        os.kill(redis.pid, signal.SIGKILL)
        (data / "runner" / "executions" / recorded.spec.uuid / "outputs" / "go").touch()
        until(lambda: recorded.final)
        assert recorded.final["state"] == "complete"
        until(lambda: redis.tend(os.environ))
        redis_users.grant(admin, "tester", hash_secret(PASSWORD))
        until(lambda: waits(admin), BACK_S)
        assert "a slot ended" not in said(data)
        assert "Traceback" not in said(data)


def test_a_job_handed_over_again_and_again_lies_in_the_queue_once(admin: Redis) -> None:
    queues, queue = Queues(admin), Queue("runner-tester", connection=admin, serializer="json")
    one, another = str(uuid.uuid4()), str(uuid.uuid4())
    for _ in range(3):
        queues.hand_over("tester", one, 1)
        queues.hand_over("tester", another, 1)
    queues.hand_over("tester", one, 2)
    assert queue.job_ids == [f"tester-{one}-000001", f"tester-{another}-000001", f"tester-{one}-000002"]


def _url(admin: Redis) -> str:
    known = admin.connection_pool.connection_kwargs
    return f"unix://:{known['password']}@{known['path']}"
