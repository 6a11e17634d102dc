"""`pushmill up` as a process, with stub children and a stub Docker engine: how it starts and ends."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from instance import free_port

from web.processes import child_process
from web.processes.private_redis import find_answering_pid

pytestmark = pytest.mark.redis
SCRIPT = Path(__file__).parent / "up_with_stubs.py"


class EngineHandler(BaseHTTPRequestHandler):
    """Answers what a Docker engine answers to `/_ping` and `/version`."""

    def do_GET(self) -> None:
        body = json.dumps({"Version": "99.1", "ApiVersion": "1.99"}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "a unix socket"

    def log_message(self, *args: object) -> None:
        pass


class Engine:
    """A stub Docker engine on a unix socket."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.start()

    def start(self) -> None:
        self._server = socketserver.ThreadingUnixStreamServer(str(self.path), EngineHandler)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self.path.unlink(missing_ok=True)


@dataclass
class Up:
    data: Path
    port: int
    environ: dict[str, str]
    began: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, until: str = "Ctrl-C stops everything") -> subprocess.Popen[str]:
        """Start it and wait until it has said `until`, or has ended."""
        self.out = self.data.parent / f"{self.data.name}-{len(self.began)}.out"
        with open(self.out, "w") as out:
            process = subprocess.Popen(
                [sys.executable, "-P", str(SCRIPT), str(self.data), str(self.port)],
                stdout=out, stderr=out, text=True, env=self.environ, start_new_session=True,
            )  # fmt: skip
        self.began.append(process)
        await_(lambda: until in self.said() or process.poll() is not None)
        return process

    def said(self) -> str:
        return self.out.read_text()

    def pid(self, name: str) -> int:
        """The process id of a child; Redis's as it says itself. 0 if it has not written its file yet."""
        if name == "redis":
            return find_answering_pid(self.data / "redis" / "redis.sock") or 0
        file = self.data / "run" / f"{name}.pid"
        text = file.read_text().split() if file.exists() else []
        return int(text[0]) if text else 0

    def pids(self) -> dict[str, int]:
        """The process ids of all children, once each has one."""
        await_(lambda: all(map(self.pid, ("redis", "web", "worker", "runner"))))
        return {name: self.pid(name) for name in ("redis", "web", "worker", "runner")}

    def healthy(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/healthz")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()


def await_(condition: Callable[[], object], timeout: float = 30.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = Engine(tmp_path / "docker.sock")
    yield engine
    engine.stop()


@pytest.fixture
def up(tmp_path: Path, engine: Engine) -> Iterator[Up]:
    up = Up(tmp_path / "data", free_port(), {**os.environ, "DOCKER_HOST": f"unix://{engine.path}"})
    yield up
    left = {pid for name, pid in _known_pids(up).items() if pid}
    for process in up.began:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(20)
    for pid in left:
        if child_process.is_running(pid):
            os.kill(pid, signal.SIGKILL)


def _known_pids(up: Up) -> dict[str, int]:
    found = {}
    for name in ("redis", "web", "worker", "runner"):
        with suppress(OSError):
            found[name] = up.pid(name)
    return found


def test_a_start_serves_pages_and_ctrl_c_ends_everything(up: Up) -> None:
    process = up.start()
    assert up.healthy()
    assert "engine 99.1" in up.said()
    assert re.search(r"web +http://127\.0\.0\.1:\d+/ +\d\.\d\d s", up.said())
    pids = up.pids()
    assert all(child_process.is_running(pid) for pid in pids.values())
    assert {(up.data / name).stat().st_mode & 0o777 for name in (".", "log", "run", "redis")} == {0o700}

    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0
    assert "stopped; all data is kept" in up.said()
    assert not any(child_process.is_running(pid) for pid in pids.values())


def test_the_token_is_shown_on_the_first_start_only(up: Up) -> None:
    for shown in (True, False):
        process = up.start()
        assert ("a-token-of-the-first-start" in up.said()) is shown
        remote = f"git push http://admin:a-token-to-push@127.0.0.1:{up.port}/git/NAME.git main"
        assert (remote in up.said()) is shown
        process.terminate()
        assert process.wait(20) == 0


def test_a_second_start_on_the_same_directory_is_refused_and_names_the_first(up: Up) -> None:
    first = up.start()
    second = up.start()
    assert second.wait(20) == 1
    assert f"already running on this data directory, {up.data} (process {first.pid}, http://127.0.0.1:" in up.said()
    assert first.poll() is None
    assert up.healthy()


def test_a_taken_port_is_named_with_the_way_out_and_nothing_is_left_running(up: Up) -> None:
    with socket.create_server(("127.0.0.1", up.port)):
        assert up.start().wait(20) == 1
    assert f"port {up.port} of 127.0.0.1 is taken" in up.said()
    assert "--port" in up.said()
    assert not up.pid("redis")


def test_no_docker_engine_is_said_with_what_to_do(up: Up, engine: Engine) -> None:
    engine.stop()
    assert up.start().wait(20) == 1
    assert f"there is no Docker engine at {engine.path}" in up.said()
    engine.start()


def test_an_engine_that_dies_later_is_said_once_and_so_is_its_return(up: Up, engine: Engine) -> None:
    up.start()
    engine.stop()
    await_(lambda: "docker: there is no Docker engine" in up.said())
    engine.start()
    await_(lambda: "docker: recovered" in up.said())
    assert up.said().count("there is no Docker engine") == 1


def test_a_web_server_that_cannot_start_is_quoted_and_nothing_is_left_running(up: Up) -> None:
    up.data.mkdir()
    (up.data / "config.toml").touch()
    (up.data / "broken").touch()
    assert up.start().wait(20) == 1
    assert "the web server ended with exit code 1: pushmill: the web server is broken on purpose" in up.said()
    assert not up.pid("redis")


@pytest.mark.parametrize("name", ["web", "worker", "runner", "redis"])
def test_a_process_that_is_killed_is_started_again(up: Up, name: str) -> None:
    up.start()
    before = up.pids()
    os.kill(before[name], signal.SIGKILL)
    await_(lambda: up.pid(name) not in (0, before[name]))
    await_(up.healthy)
    assert {other for other, pid in up.pids().items() if pid != before[other]} == {name}
    await_(lambda: name in up.said().split("Ctrl-C stops")[1].casefold())


def test_a_request_waits_while_the_web_server_starts_again(up: Up) -> None:
    up.start()
    before = up.pid("web")
    os.kill(before, signal.SIGKILL)
    await_(lambda: not child_process.is_running(before))
    connection = http.client.HTTPConnection("127.0.0.1", up.port, timeout=30)
    connection.request("GET", "/healthz")
    assert connection.getresponse().status == 200
    assert up.pid("web") != before
    connection.close()


def test_a_killed_start_is_followed_by_one_that_takes_redis_over_and_replaces_the_rest(up: Up) -> None:
    first = up.start()
    before = up.pids()
    first.kill()
    first.wait()
    assert all(child_process.is_running(pid) for pid in before.values())
    up.start()
    assert "taken over" in up.said()
    after = up.pids()
    assert after["redis"] == before["redis"]
    assert not any(child_process.is_running(before[name]) for name in ("web", "worker", "runner"))
    assert up.healthy()
    up.began[-1].send_signal(signal.SIGINT)
    assert up.began[-1].wait(20) == 0
    assert not child_process.is_running(after["redis"])


def test_ctrl_c_in_the_middle_of_a_start_ends_what_had_begun(up: Up) -> None:
    process = up.start(until="redis")
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0
    assert not up.pid("redis")
    assert not up.healthy()
