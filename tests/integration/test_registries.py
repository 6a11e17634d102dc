"""A step's image cannot make Docker call this machine, and a registry's answer is not repeated."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from data_server import DataServer, served
from runner_host import execution, runner_host
from runner_server import RunnerServer

from runner.execute import execute

pytestmark = pytest.mark.docker

ANSWER = b"internal-answer-1f0c"


@pytest.fixture
def service() -> Iterator[DataServer]:
    """A service of the runner's machine that is no registry."""
    with served() as running:
        for path in ("/v2/", "/v2/x/manifests/latest"):
            running.routes[path] = lambda handler: handler.answer(404, ANSWER)
        yield running


def pull(server: RunnerServer, directory: Path, image: str, **settings: Any) -> str:
    """The message of an execution with that image."""
    with runner_host(directory, server.url, **settings) as host:
        recorded = server.add(execution("true", image=image))
        execute(host, recorded.spec.uuid, 1)
    assert recorded.final["failure_reason"] == "image"
    assert ANSWER.decode() not in recorded.text("status").decode()
    return str(recorded.final["message"])


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])
def test_docker_is_not_sent_to_this_machine(
    server: RunnerServer, service: DataServer, tmp_path: Path, host: str
) -> None:
    message = pull(server, tmp_path, f"{host}:{service.server_port}/x")
    assert message.startswith(f"The image {host}:{service.server_port}/x is not available: its registry {host}:")
    assert "[runner] allow_registries" in message
    assert service.requests == []


def test_an_answer_is_not_repeated(server: RunnerServer, service: DataServer, tmp_path: Path) -> None:
    registry = f"127.0.0.1:{service.server_port}"
    message = pull(server, tmp_path, f"{registry}/x", allow_registries=(registry,))
    assert service.requests
    assert ANSWER.decode() not in message
    assert message.startswith(f"The image {registry}/x is not available: ")
