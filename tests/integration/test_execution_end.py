"""When an execution has ended: at once after a successful script, else when Docker says how its container ended.

Docker is behind a proxy that holds its answer about the end of a container, or is away.
"""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from runner_host import executing, execution, runner_host, until
from runner_server import RunnerServer

from runner import state_dir
from runner.execution.claim import start_attempt
from runner.host import Host
from runner.logs import spool

pytestmark = pytest.mark.docker

DOCKER = "/var/run/docker.sock"


class SlowDocker:
    """Passes everything on to Docker, but waits for `answers` before it asks for a container's end."""

    def __init__(self, path: Path) -> None:
        self.answers, self.asked = threading.Event(), threading.Event()
        self._away = False
        self._open: set[socket.socket] = set()
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(path))
        self._listening.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                if self._away:
                    client.close()
                    continue
                engine = socket.socket(socket.AF_UNIX)
                engine.connect(DOCKER)
                for ends in ((client, engine), (engine, client)):
                    threading.Thread(target=self._pass, args=ends, daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        self._open.add(source)
        with suppress(OSError):
            while data := source.recv(65536):
                if b"/wait" in data.partition(b"\r\n")[0]:
                    self.asked.set()
                    self.answers.wait()
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError), end:
                end.shutdown(socket.SHUT_RDWR)  # a socket that another thread reads is not ended by closing it

    def leave(self) -> None:
        """Break all connections, and refuse others until `come_back`."""
        self._away = True
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def come_back(self) -> None:
        self._away = False

    def close(self) -> None:
        self.answers.set()
        self._listening.close()


@pytest.fixture
def slow(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowDocker]:
    path = tmp_path_factory.mktemp("d") / "s"
    made = SlowDocker(path)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
    yield made
    made.close()


@pytest.fixture
def host(slow: SlowDocker, server: RunnerServer, tmp_path: Path) -> Iterator[Host]:
    with runner_host(tmp_path, server.url) as host:
        yield host


def ended_before_docker_answered(server: RunnerServer, host: Host, slow: SlowDocker, last: str, *, hold: bool) -> bool:
    """Run an execution with the last command `last`; Docker answers when PID 1 has gone, or after the end if `hold`."""
    answered: list[bool] = []

    def note(path: str) -> None:
        if path.endswith("/final"):
            answered.append(slow.answers.is_set())

    server.before = note
    recorded = server.add(execution("while [ ! -e /valohai/outputs/go ]; do sleep 0.1; done", last))
    directory = host.executions / recorded.spec.uuid
    with executing(host, recorded.spec):
        until((directory / "spool" / "alive").exists)
        pipe = os.open(directory / "spool" / "alive", os.O_RDONLY | os.O_NONBLOCK)
        ends = select.poll()
        ends.register(pipe, 0)
        until((directory / "outputs").exists)
        (directory / "outputs" / "go").touch()
        assert ends.poll(60_000), "PID 1 does not end"
        os.close(pipe)
        if hold:
            until(lambda: recorded.final)
        slow.answers.set()
    assert recorded.final["exit_code"] == (last == "false")
    return not answered[0]


def test_a_successful_execution_ends_before_docker_has_removed_its_network(
    server: RunnerServer, host: Host, slow: SlowDocker
) -> None:
    assert ended_before_docker_answered(server, host, slow, "true", hold=True)


def test_how_a_failed_container_ended_is_learnt_from_docker(server: RunnerServer, host: Host, slow: SlowDocker) -> None:
    assert not ended_before_docker_answered(server, host, slow, "false", hold=False)


def test_only_pid_1_has_the_pipe_open_whose_end_is_its_end(server: RunnerServer, host: Host, slow: SlowDocker) -> None:
    slow.answers.set()
    listed = 'for process in /proc/[0-9]*; do readlink $process/fd/* | sed "s|^|$process |"; done | grep alive'
    recorded = server.add(execution(listed))
    with executing(host, recorded.spec):
        until(lambda: recorded.final)
    assert {line.split()[0] for line in recorded.lines("stdout")} == {"/proc/1"}


@pytest.mark.parametrize(
    ("order", "said"), [("stop", "Stopping: SIGTERM, 600 s grace"), ("kill", "Killing the container")]
)
def test_a_signal_that_is_due_while_docker_is_away_is_sent_when_it_is_back(
    server: RunnerServer, host: Host, slow: SlowDocker, order: str, said: str
) -> None:
    slow.answers.set()
    recorded = server.add(execution("trap 'exit 3' TERM; echo up; while :; do sleep 0.1; done", stop_grace_s=600.0))
    with executing(host, recorded.spec):
        until(lambda: recorded.lines() == ["up"])
        assert slow.asked.wait(30)  # a broken start of the container would be another case
        slow.leave()
        recorded.stop = order
        until(lambda: said in recorded.lines("status"))
        slow.come_back()
    assert (recorded.final["state"], recorded.final["exit_code"]) == ("stopped", 3 if order == "stop" else 137)


def test_an_execution_whose_log_files_are_of_an_earlier_version_still_runs(
    server: RunnerServer, host: Host, slow: SlowDocker
) -> None:
    slow.answers.set()
    recorded = server.add(execution("echo done"))
    directory = host.executions / recorded.spec.uuid
    directory.mkdir(parents=True)
    start_attempt(host, directory, 1)
    state_dir.make(host.directory, directory, recorded.spec.script, {})
    (directory / "spool" / "alive").unlink()
    with executing(host, recorded.spec):
        until(lambda: recorded.final)
    assert recorded.final["state"] == "complete", recorded.final


@pytest.mark.parametrize(
    ("commands", "succeeded"),
    [
        ("start 1\nexit 1 0\nend 0\n", True),
        ("start 1\nexit 1 3\nend 3\n", False),
        ("start 1\nexit 1 0\nend 0\nand more\n", False),
        ("start 1\nexit 1 0\nend 0", False),
        ("start 1\nthe end 0\n", False),
        ("", False),
    ],
)
def test_only_a_script_whose_last_record_is_exit_code_0_has_succeeded(
    commands: str, succeeded: bool, tmp_path: Path
) -> None:
    (tmp_path / "commands").write_text(commands)
    assert spool.has_succeeded(tmp_path) == succeeded
