"""Runners beside a server: each a `pushmill runner` with its own name, token and data, on this machine's Docker."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import leftovers
import psutil
from instance import PUSHMILL, Checkout, Instance, wait_for

from web.store import runners, users
from web.store.db import connect, transaction

# small bounds, so that tests can reach them; an input server on loopback is allowed by the name of "localhost" only
SMALL_BOUNDS = """
[git]
allow_local = true
[runner]
memory = "300 MiB"
allow_input_hosts = ["localhost"]
allow_registries = ["127.0.0.1"]
[limits]
log = "1 MB"
output_count = 50
stop_grace = "3 s"
"""
SERVER_ALONE = """
[git]
allow_local = true
[runner]
slots = 0
[limits]
stop_grace = "3 s"
"""
BUSY = 10  # tests wait this many times longer than what benchmarks/ hold pushmill to
UNTIL_GO = "i=0; while [ ! -e /valohai/outputs/go ]; do i=$((i + 1)); echo line $i; sleep 0.05; done; echo end"
DEAF = "trap '' TERM; echo up; while :; do sleep 0.1; done"


class Machine:
    """A runner. `environment` is the only one that it serves, so a step can ask for it; `prefix` wraps its command."""

    def __init__(
        self,
        instance: Instance,
        data: Path,
        name: str,
        *,
        environments: Sequence[str] = ("default",),
        slots: int = 1,
        server_url: str = "",
        redis_url: str = "",
        command: Sequence[str] = (str(PUSHMILL), "runner"),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.instance, self.data, self.name = instance, data, name
        self.process: psutil.Popen | None = None
        self._command = [*command, "--data", str(data)]
        self._environment = os.environ | (environment or {})
        data.mkdir(parents=True)
        token = _register(instance, name, environments)
        redis = redis_url or (instance.data / "redis" / "url").read_text().strip()
        (data / "config.toml").write_text(
            f'[runner]\nname = "{name}"\nserver = "{server_url or instance.url}"\ntoken = "{token}"\nslots = {slots}\n'
            f'network = "{leftovers.NETWORK}"\nshm = "64 MiB"\nallow_input_hosts = ["127.0.0.1"]\n'
            f'allow_registries = ["127.0.0.1"]\n[redis]\nurl = "{redis}"\n'
        )

    def start(self) -> None:
        if self.process is not None:
            self.process.wait(60)
        with open(self.data / "runner.out", "ab") as log:
            self.process = psutil.Popen(
                self._command, stdout=log, stderr=log, start_new_session=True, env=self._environment
            )

    @property
    def children(self) -> list[psutil.Process]:
        """Return its slots and other child processes."""
        assert self.process is not None
        return self.process.children() if self.process.is_running() else []

    def keeper(self, execution: str) -> psutil.Process:
        """Return the slot that holds the lock of an execution."""
        lock = str(self.executions / execution / "lock")

        def holder() -> psutil.Process | None:
            return next((slot for slot in self.children if lock in _open_files(slot)), None)

        return wait_for(holder)

    def stop(self) -> float:
        """Send SIGTERM; return the seconds until it has exited."""
        assert self.process is not None
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) == 0
        return time.monotonic() - began

    def kill(self) -> None:
        """Send SIGKILL to all of its processes at once."""
        assert self.process is not None
        for process in (self.process, *self.children):
            process.kill()
        self.process.wait(60)

    @property
    def online(self) -> bool:
        """Return whether the server considers it online."""
        return value(self.instance, "SELECT last_seen_at FROM runner WHERE name = ?", self.name) is not None

    @property
    def executions(self) -> Path:
        return self.data / "runner" / "executions"

    @property
    def label(self) -> str:
        return f"label=pushmill.runner={(self.data / 'runner' / 'id').read_text().strip()}"

    def containers(self, *options: str) -> list[str]:
        return self.docker("ps", "-aq", "--no-trunc", "--filter", self.label, *options).split()

    def docker(self, *arguments: str) -> str:
        """Run the docker command on this runner's daemon; return its output."""
        command = ["docker", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, env=self._environment).stdout

    def leftovers(self) -> list[str]:
        """List leftovers of executions: directories, containers, volumes."""
        return [
            *(f"directory {path}" for path in self.executions.glob("*")),
            *(f"container {found}" for found in self.containers()),
            *(f"volume {found}" for found in self.docker("volume", "ls", "-q", "--filter", self.label).split()),
        ]

    def close(self) -> None:
        """Stop it, have the server notice that, and remove leftovers of a failed test."""
        if self.process is not None and self.process.is_running():
            self.kill()
        with contextlib.closing(sqlite3.connect(self.instance.data / "pushmill.db", timeout=10)) as db, db:
            db.execute("UPDATE runner SET last_seen_at = NULL WHERE name = ?", (self.name,))
        if (self.data / "runner" / "id").exists():
            for container in self.containers():
                with contextlib.suppress(subprocess.CalledProcessError):  # the runner's removal may be under way
                    self.docker("rm", "-fv", container)


@contextlib.contextmanager
def machine(instance: Instance, data: Path, name: str, **options: Any) -> Iterator[Machine]:
    """Run a runner during the block, and remove everything that it made afterwards."""
    made = Machine(instance, data, name, **options)
    try:
        made.start()
        yield made
    finally:
        made.close()


@contextlib.contextmanager
def frozen(*processes: psutil.Process) -> Iterator[None]:
    """Stop processes (SIGSTOP) during the block."""
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()


def web_process(instance: Instance) -> psutil.Process:
    return psutil.Process(int((instance.data / "run" / "web.pid").read_text().split()[0]))


def within(limit_s: float, what: str, condition: Callable[[], object]) -> None:
    """Wait for `condition`, and print how long it took; on a busy machine that may be longer than promised."""
    began = time.monotonic()
    wait_for(condition, BUSY * limit_s)
    print(f"{what}: {time.monotonic() - began:.2f} s (at most {limit_s:g} s)")


def launch(instance: Instance, checkout: Checkout, project: str, *steps: str) -> list[str]:
    """Push these steps; return the uuids of their executions in the same order."""
    known = any(found["name"] == project for found in instance.get("/projects/", limit=1000)["results"])
    before = len(instance.executions(project)) if known else 0
    checkout.commit({"valohai.yaml": "".join(steps)})
    checkout.push(instance.git_url(project))
    found = wait_for(lambda: made if len(made := instance.executions(project)) == before + len(steps) else None, 30)
    return [execution["id"] for execution in found[before:]]


def lease_over(instance: Instance, execution: str) -> bool:
    """Return whether the lease of a started execution has expired."""
    ends = value(instance, "SELECT lease_expires_at FROM execution WHERE uuid = ?", execution)
    return bool(datetime.fromisoformat(ends) < datetime.now(UTC))


def value(instance: Instance, sql: str, *values: str) -> Any:
    """Return the value that a query of the server's database finds."""
    with contextlib.closing(sqlite3.connect(instance.data / "pushmill.db", timeout=10)) as db:
        (found,) = db.execute(sql, values).fetchone()
    return found


def step(name: str, *commands: str, image: str = "pushmill-test-busybox", **more: Any) -> str:
    """One step of valohai.yaml as YAML. JSON is YAML, so `more` are keys of the step with JSON values."""
    fields = {"name": name, "image": image, "command": list(commands), **more}
    return f"- step: {json.dumps(fields)}\n"


def _open_files(process: psutil.Process) -> set[str]:
    try:
        return {os.readlink(f"/proc/{process.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{process.pid}/fd")}
    except OSError:
        return set()


def _register(instance: Instance, name: str, environments: Sequence[str]) -> str:
    token = users.make_token()
    db = connect(instance.data / "pushmill.db")
    try:
        with transaction(db):
            runners.add(db, name, token, environments)
    finally:
        db.close()
    return token
