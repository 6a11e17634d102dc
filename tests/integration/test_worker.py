"""`pushmill worker` with a real Redis."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from instance import Checkout, wait_for
from push_server import PushServer, step
from redis import Redis
from rq import Callback, Queue
from rq.job import Job
from rq.webhook import Webhook

from web.processes.private_redis import EmbeddedRedis, find_binary
from web.processes.worker import explain_refusal
from web.services.scheduling.queues import SERVER_QUEUE, SWEEP, Queues

pytestmark = pytest.mark.redis


@pytest.fixture
def redis(pushes: PushServer) -> Iterator[EmbeddedRedis]:
    embedded = EmbeddedRedis(pushes.config.data / "redis", find_binary())
    embedded.start(os.environ)
    yield embedded
    embedded.stop(2.0)


@pytest.fixture
def client(redis: EmbeddedRedis) -> Iterator[Redis]:
    with Redis.from_url(redis.url) as client:
        yield client


@pytest.fixture
def worker(pushes: PushServer, redis: EmbeddedRedis) -> Iterator[subprocess.Popen[bytes]]:
    with working(pushes) as process:
        yield process


@contextmanager
def working(pushes: PushServer) -> Iterator[subprocess.Popen[bytes]]:
    """A worker, killed afterwards."""
    command = [sys.executable, "-m", "web.cli.main", "worker", "--data", str(pushes.config.data)]
    with (pushes.config.data / "worker.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def log(pushes: PushServer) -> str:
    return (pushes.config.data / "worker.log").read_text()


def waiting_for_jobs(client: Redis) -> bool:
    return any(b"idle" in (client.hget(key, "state") or b"") for key in client.keys("rq:worker:*"))


def without_expiry(client: Redis) -> set[str]:
    return {key.decode() for key in client.keys("*") if client.ttl(key) == -1}


def test_a_nudge_is_answered_with_a_sweep_at_once(
    pushes: PushServer, checkout: Checkout, client: Redis, worker: subprocess.Popen[bytes]
) -> None:
    wait_for(lambda: waiting_for_jobs(client))
    checkout.commit({"valohai.yaml": step("train")})
    pushes.queues._connection = client  # this server nudges the worker, as the real one does
    said = pushes.push(checkout, "nudged")
    assert "train #1" in said
    wait_for(lambda: str(pushes.executions("nudged")[0].state) == "queued")
    assert worker.poll() is None


def test_nudges_do_not_pile_up(pushes: PushServer, client: Redis) -> None:
    queues, queue = Queues(client), Queue(SERVER_QUEUE, connection=client, serializer="json")
    for _ in range(100):
        queues.nudge()
    assert queue.count == 1
    for _ in range(5):  # as a sweep that lasts longer than the nudges' memory would see it
        client.delete("pushmill:nudged")
        queues.nudge()
    queues.nudged()
    assert queue.count == 0
    queues.nudge()
    assert queue.count == 1


def test_pushes_are_ingested_while_redis_is_away_and_the_log_says_so_once(
    pushes: PushServer, checkout: Checkout, redis: EmbeddedRedis, client: Redis, worker: subprocess.Popen[bytes]
) -> None:
    wait_for(lambda: waiting_for_jobs(client))
    client.close()
    redis.stop(2.0)
    checkout.commit({"valohai.yaml": step("train")})
    pushes.push(checkout, "patient")
    wait_for(lambda: pushes.steps("patient") == ["train"])
    wait_for(lambda: "Redis is unavailable" in log(pushes))
    redis.start(os.environ)
    wait_for(lambda: "Redis is back" in log(pushes))
    wait_for(lambda: waiting_for_jobs(client))
    assert log(pushes).count("Redis is unavailable") == 1
    assert "could not connect" not in log(pushes)


def test_jobs_that_could_make_the_worker_run_anything_else_are_refused(
    pushes: PushServer, tmp_path: Path, client: Redis, worker: subprocess.Popen[bytes]
) -> None:
    wait_for(lambda: waiting_for_jobs(client))
    queue = Queue(SERVER_QUEUE, connection=client, serializer="json")
    marks = [tmp_path / str(number) for number in range(5)]
    for mark in marks:  # a sweep empties the queue, so some of them are thrown away instead
        queue.enqueue_call("os.mkdir", args=(str(mark),))
        wait_for(lambda: queue.count == 0)
    garbage = Job.create(SWEEP, connection=client, serializer="json", origin=SERVER_QUEUE)
    garbage.data = b"\x80\x04garbage"
    queue.enqueue_job(garbage)
    wait_for(lambda: queue.count == 0)
    wait_for(lambda: "refused" in log(pushes))
    wait_for(lambda: waiting_for_jobs(client))
    assert not any(mark.exists() for mark in marks)
    assert worker.poll() is None


def job(function: str = SWEEP, **more: Any) -> Job:
    return Job.create(function, connection=Redis(), serializer="json", **more)


@pytest.mark.parametrize(
    "bad",
    [
        job("os.mkdir"),
        job("web.processes.sweep.install"),
        job(args=("x",)),
        job(kwargs={"x": 1}),
        job(on_success=Callback("os.abort")),
        job(on_failure=Callback("os.abort")),
        job(on_stopped=Callback("os.abort")),
        job(webhooks=[Webhook("http://127.0.0.1:1/", "finished")]),
        job(depends_on="another"),
    ],
)
def test_a_job_with_trimmings_is_refused_before_anything_of_it_is_imported(bad: Job) -> None:
    assert explain_refusal(bad)
    assert explain_refusal(job()) == ""


def test_sigterm_ends_it_at_once(client: Redis, worker: subprocess.Popen[bytes]) -> None:
    wait_for(lambda: waiting_for_jobs(client))
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0


def test_a_slow_remote_holds_up_its_own_repository_alone(
    pushes: PushServer, checkout: Checkout, client: Redis, worker: subprocess.Popen[bytes]
) -> None:
    import socket

    from hooks import signatures

    with socket.create_server(("127.0.0.1", 0)) as silent:
        secret = pushes.add_project("slow", "github", f"https://127.0.0.1:{silent.getsockname()[1]}/x.git")
        body = b'{"ref": "refs/heads/main", "before": "%s", "after": "%s"}' % (b"0" * 40, b"a" * 40)
        signed = {"X-Hub-Signature-256": signatures.sign(body, secret.encode()), "X-GitHub-Event": "push"}
        assert pushes.post("/hooks/slow/github", body, **signed).status_code == 202
        silent.settimeout(30)
        connection, _ = silent.accept()  # it is being fetched from now on, and gets no answer
        with connection:
            checkout.commit({"valohai.yaml": step("train")})
            pushes.push(checkout, "fast")
            wait_for(lambda: pushes.steps("fast") == ["train"])


def test_what_killed_workers_had_in_hand_leaves_redis(pushes: PushServer, client: Redis) -> None:
    """A job that was taken and not run; jobs of slots that were killed; workers whose hash has expired."""
    queues, queue = Queues(client), Queue(SERVER_QUEUE, connection=client, serializer="json")
    queues.nudge()
    queue.dequeue_any([queue], None, connection=client, serializer="json")
    queues.hand_over("local", "c0ffee", 1)
    client.lpop("rq:queue:runner-local")
    client.sadd("rq:workers", "rq:worker:dead")
    client.sadd("rq:workers:server", "rq:worker:dead")
    assert client.exists("rq:queue:server:intermediate")
    with working(pushes):
        wait_for(lambda: waiting_for_jobs(client))
        wait_for(lambda: not client.exists("rq:queue:server:intermediate"))
        others = set(client.keys("rq:job:*"))
        client.delete("pushmill:nudged")
        queues.nudge()
        wait_for(lambda: set(client.keys("rq:job:*")) <= others)
        wait_for(lambda: without_expiry(client) == {"rq:queues", "rq:workers", "rq:workers:server"})
    assert b"rq:worker:dead" not in client.smembers("rq:workers") | client.smembers("rq:workers:server")
