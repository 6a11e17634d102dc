"""A runner on this machine for tests: executions to run, in a thread or a process."""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import leftovers

from core.config import RunnerConfig, Size
from core.wire import ExecutionSpec
from runner.containers.engine import Engine
from runner.execution import conclude, stages
from runner.execution.adopt import recover
from runner.host import Host
from runner.sandbox import ReadySandbox
from runner.server_client import Reporter
from web.config.steps.shell_script import build_script

IMAGE = "pushmill-quickstart"
BUSYBOX = "pushmill-test-busybox"
NETWORK = leftovers.NETWORK
COMMIT = "a" * 40
TOKEN = "secret"


def execution(*commands: str, image: str = IMAGE, **given: Any) -> ExecutionSpec:
    plain: dict[str, Any] = {
        "uuid": str(uuid.uuid4()),
        "counter": 1,
        "attempt": 1,
        "project_uuid": str(uuid.uuid4()),
        "project_name": "demo",
        "commit_identifier": COMMIT,
        "step": "test",
        "image": image,
        "script": build_script(commands),
        "commands": list(commands),
        "parameters": {},
        "inputs": [],
        "environment_variables": {},
        "config": {},
        "time_limit_s": None,
        "no_output_limit_s": None,
        "log_bytes": 100_000_000,
        "output_bytes": 1_000_000,
        "output_count": 10,
        "stop_grace_s": 10.0,
    }
    return ExecutionSpec(**(plain | given))


@contextlib.contextmanager
def runner_host(directory: Path, server_url: str, **settings: Any) -> Iterator[Host]:
    """A host whose cache has the commit's tree already; its containers are gone afterwards.

    With PUSHMILL_TEST_SANDBOX=on a network sandbox is ready for its first execution.
    """
    tree = directory / "cache" / "trees" / "demo" / COMMIT
    tree.mkdir(parents=True, exist_ok=True)
    tree.joinpath("train.py").write_text("print('trained')\n")
    tree.joinpath("train.py").chmod(0o666)  # as a checkout makes it
    engine, reporter = Engine(), Reporter(server_url, TOKEN)
    host = Host(
        runner_id=f"test-{hashlib.sha256(bytes(directory)).hexdigest()[:16]}",  # tests of other workers have others
        directory=directory,
        server_url=server_url,
        token=TOKEN,
        settings=RunnerConfig(name="tester", network=NETWORK, shm=Size(64 * 1024 * 1024), **settings),
        reporter=reporter,
        engine=engine,
        network=engine.network(NETWORK),
    )
    if os.environ.get("PUSHMILL_TEST_SANDBOX") == "on":
        host = with_sandbox(host)
    try:
        yield host
    finally:
        if host.ready_sandbox is not None:
            host.ready_sandbox.close()
        for found in engine.managed(host.runner_id):
            engine.remove(found.container_id)
        for name in engine.sandboxes.names(host.runner_id):
            engine.remove(name)
        engine.close()
        reporter.close()


def with_sandbox(host: Host) -> Host:
    """The same host, with a ready network sandbox."""
    ready = ReadySandbox(host.engine, host.runner_id, host.directory, host.network)
    ready.prepare_soon(0.0)
    until(lambda: ready.name)
    return replace(host, ready_sandbox=ready)


def execute(host: Host, execution: str, attempt: int) -> None:
    """Run one execution, and wait until what it leaves is removed."""
    stages.execute(host, execution, attempt)
    conclude.finish_discards()


@contextlib.contextmanager
def executing(host: Host, spec: ExecutionSpec) -> Iterator[None]:
    """Run an execution in a thread during the block, and wait for its end."""
    thread = threading.Thread(target=execute, args=(host, spec.uuid, spec.attempt))
    thread.start()
    try:
        yield
    finally:
        thread.join(60)
        assert not thread.is_alive()


@contextlib.contextmanager
def keeper_process(host: Host, execution_uuid: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run an execution in another process, which is killed after the block."""
    arguments = [sys.executable, __file__, str(host.directory), host.server_url, execution_uuid]
    path = os.pathsep.join([str(Path(leftovers.__file__).parent), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(arguments, env=os.environ | {"PYTHONPATH": path})
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def until(condition: Callable[[], object], timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.01)


def docker(*arguments: str, stdin: bytes = b"") -> str:
    """What the docker command says; what it makes is marked as this session's."""
    if arguments[0] == "run" or arguments[:2] == ("volume", "create"):
        words = 1 if arguments[0] == "run" else 2
        arguments = (*arguments[:words], "--label", leftovers.LABEL, *arguments[words:])
    return subprocess.run(["docker", *arguments], input=stdin, capture_output=True, check=True).stdout.decode().strip()


@contextlib.contextmanager
def empty_image() -> Iterator[str]:
    """The name of an image without any file; tests of other workers have others."""
    name = f"pushmill-test-{uuid.uuid4().hex[:12]}"
    docker("import", "--change", "LABEL pushmill.test=1", "-", name, stdin=bytes(10240))
    try:
        yield name
    finally:
        docker("image", "rm", name)


def take_up(host: Host) -> None:
    """Adopt executions, as a new slot does first."""
    recover(host)


if __name__ == "__main__":
    with runner_host(Path(sys.argv[1]), sys.argv[2]) as this_host:
        execute(this_host, sys.argv[3], 1)
        os._exit(0)  # what its neighbours run is not its to remove
