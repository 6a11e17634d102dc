"""`pushmill runner`: the supervisor, its slots, and the jobs that they accept."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from redis import Redis
from rq import Callback, Queue
from rq.job import Job
from runner_host import BUSYBOX, COMMIT, NETWORK, docker, execution, until
from runner_server import RunnerServer

from core.locks import hold
from core.wire import JOB
from runner import checkout
from runner.containers.engine import Engine

pytestmark = [pytest.mark.docker, pytest.mark.redis]


@pytest.fixture
def redis() -> Iterator[Redis]:
    directory = Path(tempfile.mkdtemp(prefix="pm-"))  # a socket's path must be short
    socket = directory / "s"
    binary = shutil.which("redis-server") or shutil.which("valkey-server") or ""
    process = subprocess.Popen(
        [binary, "--port", "0", "--unixsocket", str(socket), "--save", ""], stdout=subprocess.DEVNULL
    )
    until(socket.exists)
    with Redis(unix_socket_path=str(socket)) as connection:
        yield connection
    process.terminate()
    process.wait()
    shutil.rmtree(directory)


@pytest.fixture
def queue(redis: Redis) -> Queue:
    return Queue("runner-tester", connection=redis, serializer="json")


@pytest.fixture
def data(tmp_path: Path, server: RunnerServer, redis: Redis) -> Iterator[Path]:
    """A data directory as a machine that is only a runner has it."""
    socket = redis.connection_pool.connection_kwargs["path"]
    tree = tmp_path / "runner" / "cache" / "trees" / "demo" / COMMIT
    tree.mkdir(parents=True)
    (tmp_path / "runner" / "token").write_text("secret\n")
    (tmp_path / "config.toml").write_text(
        f'[runner]\nname = "tester"\nserver = "{server.url}"\nslots = 2\nnetwork = "{NETWORK}"\nshm = "64 MiB"\n'
        f'[redis]\nurl = "unix://{socket}"\n'
    )
    runner_id = f"test-{uuid.uuid4()}"
    (tmp_path / "runner" / "id").write_text(runner_id)
    yield tmp_path
    engine = Engine()
    for found in engine.managed(runner_id):
        engine.remove(found.container_id)
    engine.close()


@contextlib.contextmanager
def runner(
    data: Path, program: str = "from runner.cli import command; command()", **environment: str
) -> Iterator[psutil.Popen]:
    process = psutil.Popen([sys.executable, "-c", program, "--data", str(data)], env=os.environ | environment)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def enqueue(queue: Queue, execution_uuid: str, attempt: int = 1) -> Job:
    return queue.enqueue(JOB, execution_uuid, attempt, job_timeout=-1)


def test_a_firewall_that_fails_is_a_problem_of_the_runner(server: RunnerServer, data: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    with runner(data, PATH=str(tmp_path / "bin")):
        until(lambda: server.reports)
    [problem] = server.reports[0]["info"]["problems"]
    assert problem.startswith("Containers can reach this machine and metadata services of clouds: iptables is missing")


def test_a_queued_execution_runs_in_a_slot_and_the_machine_reports_itself(
    server: RunnerServer, data: Path, queue: Queue
) -> None:
    recorded = server.add(execution("echo hello"))
    with runner(data):
        enqueue(queue, recorded.spec.uuid)
        until(lambda: recorded.final)
        until(lambda: server.reports)
    assert recorded.lines() == ["hello"]
    assert server.reports[0]["slots"] == 2
    info = server.reports[0]["info"]
    assert {"version", "docker_version", "free_disk_bytes", "load", "cpu_count", "memory_bytes", "gpus"} <= info.keys()


def test_a_stopped_runner_leaves_the_container_and_the_next_one_takes_it_up(
    server: RunnerServer, data: Path, queue: Queue
) -> None:
    recorded = server.add(execution("for i in $(seq 100); do echo $i; sleep 0.05; done"))
    with runner(data):
        enqueue(queue, recorded.spec.uuid)
        until(lambda: len(recorded.lines()) > 5)
    assert recorded.final == {}
    with runner(data):
        until(lambda: recorded.final)
    assert recorded.final["state"] == "complete"
    assert recorded.lines() == [str(i) for i in range(1, 101)]


def test_a_slot_killed_without_a_word_is_replaced_and_its_container_finished(
    server: RunnerServer, data: Path, queue: Queue
) -> None:
    recorded = server.add(execution("for i in $(seq 60); do echo $i; sleep 0.05; done"))
    with runner(data) as process:
        until(lambda: len(process.children()) == 2)
        enqueue(queue, recorded.spec.uuid)
        until(lambda: len(recorded.lines()) > 5)
        for slot in process.children():
            slot.kill()
        until(lambda: recorded.final)
    assert recorded.final["state"] == "complete"
    assert recorded.lines() == [str(i) for i in range(1, 61)]


def test_slots_die_with_their_supervisor(server: RunnerServer, data: Path) -> None:
    process = psutil.Popen([sys.executable, "-c", "from runner.cli import command; command()", "--data", str(data)])
    until(lambda: len(process.children()) == 2)
    slots = process.children()
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(slots, timeout=5)
    assert alive == []


def test_a_slot_in_the_middle_of_an_execution_outlives_redis(
    server: RunnerServer, data: Path, queue: Queue, redis: Redis
) -> None:
    recorded = server.add(execution("echo up; while [ ! -e /valohai/outputs/go ]; do sleep 0.05; done; echo down"))
    with runner(data):
        enqueue(queue, recorded.spec.uuid)
        until(lambda: recorded.lines() == ["up"])
        psutil.Process(redis.info("server")["process_id"]).kill()
        (data / "runner" / "executions" / recorded.spec.uuid / "outputs" / "go").touch()
        until(lambda: recorded.final)
    assert recorded.lines() == ["up", "down"]
    assert recorded.final["state"] == "complete"


def marks(directory: Path) -> list[str]:
    return [path.name for path in directory.glob("mark-*")]


def test_jobs_that_could_make_a_slot_run_anything_else_are_refused(data: Path, queue: Queue, tmp_path: Path) -> None:
    mark = str(tmp_path / "mark-")
    plain = str(uuid.uuid4())
    refused = [
        queue.enqueue("os.mkdir", mark + "function"),
        queue.enqueue(JOB, plain, 1, on_success=Callback("os.mkdir"), on_failure=Callback("os.mkdir")),
        queue.enqueue(JOB, plain, attempt=1),
    ]
    with runner(data):
        until(lambda: not any(Job.exists(job.id, queue.connection) for job in refused))
    assert marks(tmp_path) == []


def test_a_job_that_names_no_execution_touches_no_path(server: RunnerServer, data: Path, queue: Queue) -> None:
    job = enqueue(queue, "../../../etc")
    after = server.add(execution("echo fine"))
    with runner(data):
        enqueue(queue, after.spec.uuid)
        until(lambda: after.final)
        until(lambda: not Job.exists(job.id, queue.connection))
        until(lambda: not any((data / "runner" / "executions").iterdir()))


def test_a_runner_without_a_token_says_where_it_comes_from(data: Path) -> None:
    (data / "runner" / "token").unlink()
    program = "from runner.cli import command; command()"
    result = subprocess.run([sys.executable, "-c", program, "--data", str(data)], capture_output=True, check=False)
    assert result.returncode == 1
    assert b"[runner] token is not set" in result.stderr


def test_a_slot_that_cannot_live_is_not_restarted_without_pause(data: Path) -> None:
    (data / "runner" / "executions").write_text("no directory")
    with runner(data) as process:
        until((data / "runner" / "gpus.json").exists)  # from then on it has slots
        seen: set[int] = set()
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline:
            seen.update(child.pid for child in process.children())
            time.sleep(0.02)
    assert 2 <= len(seen) <= 8  # two slots, three times each at most, a cleanup and a look at the GPUs


def stray(data: Path) -> str:
    """A container of this runner of which no directory tells."""
    runner_id = (data / "runner" / "id").read_text()
    labels = (f"pushmill.runner={runner_id}", f"pushmill.execution={uuid.uuid4()}", "pushmill.attempt=1")
    return docker("create", *(part for label in labels for part in ("--label", label)), BUSYBOX, "true")


def test_a_runner_cleans_up_when_it_starts(data: Path) -> None:
    container = stray(data)
    with runner(data):
        until(lambda: container not in docker("ps", "--all", "--quiet", "--no-trunc"))


def test_a_cleanup_that_hangs_is_killed_and_done_again(data: Path) -> None:
    tree = data / "runner" / "cache" / "trees" / "demo" / COMMIT
    os.utime(tree, (1, 1))
    quick = "from runner import cli; cli.CLEANUP_S = 1.0; cli.command()"
    with hold(checkout.get_lock_path(data / "runner" / "cache")), runner(data, quick) as process:
        until(lambda: cleanups(process))
        first = cleanups(process)[0]
        until(lambda: cleanups(process) not in ([], [first]))
        assert len(process.children()) <= 3
    assert tree.exists()
    with runner(data):
        until(lambda: not tree.exists())


def cleanups(process: psutil.Popen) -> list[int]:
    found = []
    for child in process.children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if child.nice() == 19:
                found.append(child.pid)
    return found
