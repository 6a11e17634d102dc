"""A real pushmill for tests and benchmarks: `pushmill up` with its own data directory, and a user who pushes to it."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import command_line
import httpx
import leftovers
import psutil

FINAL = {"complete", "error", "stopped"}
GITCONFIG = Path(__file__).parent / "fixtures" / "user.gitconfig"  # saves processes after commits and pushes
PUSHMILL = Path(sys.executable).parent / "pushmill"
T = TypeVar("T")


def free_port() -> int:
    """Return a free port below those of outgoing connections, so that none takes it before its server does."""
    while True:
        port = random.SystemRandom().randrange(10_000, 32_000)  # Hypothesis seeds the other generator
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def wait_for(what: Callable[[], T | None], timeout: float = 60.0, every: float = 0.02) -> T:
    """Wait for a truthy result of `what`, and return it."""
    deadline = time.monotonic() + timeout
    while True:
        if found := what():
            return found
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} was not true within {timeout} s")
        time.sleep(every)


class Instance:
    """One server with everything it starts. `config` is the text of config.toml, without `[runner] network`."""

    def __init__(self, data: Path, config: str = "") -> None:
        self.data = data
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None
        data.mkdir(parents=True, exist_ok=True)
        (data / "config.toml").write_text(in_test_network(config))

    def start(self) -> float:
        """Start it; return the seconds until a page is served."""
        started = time.monotonic()
        command = [str(PUSHMILL), "up", "--data", str(self.data), "--port", str(self.port)]
        log = (self.data / "up.out").open("ab")
        self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        log.close()
        wait_for(self._serves, 30)
        return time.monotonic() - started

    def _serves(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise RuntimeError((self.data / "up.out").read_text())
        try:
            # the web server of an `up` that was killed may serve until this one ends it
            own = psutil.Process(int((self.data / "run" / "web.pid").read_text().split()[0])).ppid() == self.process.pid
            return own and httpx.get(f"{self.url}/healthz", timeout=2).status_code == 200
        except (OSError, ValueError, IndexError, psutil.NoSuchProcess, httpx.TransportError):
            return False

    def stop(self) -> int:
        """Send Ctrl-C; return the exit code."""
        assert self.process is not None
        self._disconnect()
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(30)

    def _disconnect(self) -> None:
        if hasattr(self, "_client"):
            self._client.close()
            del self._client

    def close(self) -> None:
        """End it, and its containers. When something killed `up`, its children live on: they are killed too."""
        self._disconnect()
        try:
            if self.process is not None and self.process.poll() is None:
                self.stop()
            else:
                leftovers.end_processes(f"{self.data}/", f"{self.data}\0")
        finally:
            leftovers.remove_containers(self.data)

    @property
    def token(self) -> str:
        return (self.data / "admin-token").read_text().strip()

    @property
    def client(self) -> httpx.Client:
        if not hasattr(self, "_client"):
            headers = {"Authorization": f"Token {self.token}"}
            self._client = httpx.Client(base_url=f"{self.url}/api/v0", headers=headers, timeout=30, trust_env=False)
        return self._client

    def get(self, path: str, **params: Any) -> Any:
        answer = self.client.get(path, params=params)
        answer.raise_for_status()
        return answer.json()

    def pushmill(self, *arguments: str, given: str = "") -> str:
        """Run a command of an administrator with the input `given`; return its output."""
        done = command_line.pushmill(self.data, *arguments, stdin=given)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def git_url(self, project: str) -> str:
        return f"http://admin:{self.token}@127.0.0.1:{self.port}/git/{project}.git"

    def project(self, name: str) -> Any:
        return next(item for item in self.get("/projects/", limit=1000)["results"] if item["name"] == name)

    def executions(self, project: str) -> list[Any]:
        """Return the executions in the order of their numbers."""
        found = self.get("/executions/", project=self.project(project)["id"], ordering="counter", limit=9000)
        return list(found["results"])

    def execution(self, uuid: str) -> Any:
        return self.get(f"/executions/{uuid}/")

    def wait_final(self, uuid: str, timeout: float = 90.0) -> Any:
        def final() -> Any:
            execution = self.execution(uuid)
            return execution if execution["status"] in FINAL else None

        return wait_for(final, timeout, 0.05)

    def events(self, uuid: str, stream: str | None = None) -> list[str]:
        """Return the messages of an execution's log, of one stream or all."""
        events = self.get(f"/executions/{uuid}/events/", limit=0)["events"]
        return [event["message"] for event in events if stream in (None, event["stream"])]

    def outputs(self, uuid: str) -> list[Any]:
        return list(self.get("/data/", output_execution=uuid, limit=5000)["results"])

    def download(self, datum: str) -> bytes:
        answer = httpx.get(self.get(f"/data/{datum}/download/")["url"], timeout=30, trust_env=False)
        return answer.raise_for_status().content

    def run(self, project: str, step: str, timeout: float = 90.0) -> Any:
        """Wait until the newest execution of a step is final, and return it."""

        def newest() -> Any:
            found = [item for item in self.executions(project) if item["step"] == step]
            return found[-1] if found else None

        return self.wait_final(wait_for(newest, 30)["id"], timeout)


def in_test_network(config: str) -> str:
    """Return the configuration with the session's network for the runner's containers."""
    line = f'[runner]\nnetwork = "{leftovers.NETWORK}"\n'
    return config.replace("[runner]\n", line, 1) if "[runner]\n" in config else f"{config}\n{line}"


class Checkout:
    """A working copy of a user."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.git("init", "-q", "--template=", "-b", "main")  # no examples of hooks

    def git(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")} | {
            "GIT_CONFIG_GLOBAL": str(GITCONFIG), "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0",
            "GIT_AUTHOR_NAME": "Ada", "GIT_AUTHOR_EMAIL": "ada@example.org",
            "GIT_COMMITTER_NAME": "Ada", "GIT_COMMITTER_EMAIL": "ada@example.org", "NO_PROXY": "127.0.0.1,localhost",
        }  # fmt: skip
        result = subprocess.run(
            ["git", *arguments], cwd=self.folder, env=environment, capture_output=True, text=True, errors="replace",
            timeout=120,
        )  # fmt: skip
        if check and result.returncode:
            raise RuntimeError(f"git {' '.join(arguments)}: {result.stderr}")
        return result

    def commit(self, files: Mapping[str, str | bytes], message: str = "work") -> str:
        for name, content in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD").stdout.strip()

    def push(self, url: str, *options: str, ref: str = "main") -> str:
        """Push; return the answer of the server."""
        arguments = [part for option in options for part in ("-o", option)]
        return self.git("push", *arguments, url, ref).stderr


@contextmanager
def running(data: Path, config: str = "") -> Iterator[Instance]:
    instance = Instance(data, config)
    try:
        instance.start()
        yield instance
    finally:
        instance.close()
